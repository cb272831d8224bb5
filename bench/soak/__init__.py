"""The soak: an hour of mixed load on a server that is killed, locked out and without disk space."""
