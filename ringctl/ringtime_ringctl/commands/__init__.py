"""One file a command: its options, what it reads, and how it is shown."""
