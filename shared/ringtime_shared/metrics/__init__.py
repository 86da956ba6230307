"""What a process tells Prometheus of itself: every instrument has its name in `names`."""
