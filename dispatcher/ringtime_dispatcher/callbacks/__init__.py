"""The callback types that ship: each imports its own client library and nothing else does."""
