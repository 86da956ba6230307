"""The deployment that a command looks at: opened once, read, and changed with an entry in the audit log."""
