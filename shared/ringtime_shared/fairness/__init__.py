"""Who may take the next place of something scarce: attempts in flight, threads for name lookups. Pure."""
