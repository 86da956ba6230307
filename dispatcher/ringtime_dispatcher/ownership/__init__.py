"""Which poller instances this node owns, and how far it is with each."""
