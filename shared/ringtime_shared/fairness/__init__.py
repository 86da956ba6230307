"""Who may take the next permit of something scarce: attempts in flight, threads for name lookups. Pure."""
