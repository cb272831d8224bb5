"""One module for each format: how to know it, read it, and, for some, write it."""
