"""The `http` callback type."""
