"""`ringctl apps`: one at a time, and all that a file names."""
