"""`ringctl schedules`, `explain` and `deadletters`: what became of a schedule, and another try for it."""
