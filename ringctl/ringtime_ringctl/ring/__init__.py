"""`ringctl ring`, `nodes`, `drain` and `undrain`: who owns what, and who is to."""
