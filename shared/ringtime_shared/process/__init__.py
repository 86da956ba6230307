"""What a process of a service is: its start, its file descriptors, and several of it on one port."""
