"""What each route does: parse, ask the service, answer."""
