"""Real processes for end-to-end tests and benchmarks: a server, a receiver, a cheap client."""
