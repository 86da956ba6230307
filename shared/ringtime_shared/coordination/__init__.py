"""Who is alive and who owns which poller instance: the protocols and one module a driver."""
