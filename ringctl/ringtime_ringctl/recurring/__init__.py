"""`ringctl recurring`: recurring schedules, and their runs."""
