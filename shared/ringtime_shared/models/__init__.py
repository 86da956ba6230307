"""The nouns of the service. Standard library only, no I/O."""
