"""What listens on a socket on one machine. Lambda's package does not carry it."""
