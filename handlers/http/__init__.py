"""What all routes share: the grammar of HTTP. Nothing here listens on a socket."""
