"""The one vocabulary of the API: names on the wire, JSON shapes, limits, units and instants."""
