"""Benchmarks: against a FastAPI twin, against raw SQLite, and as the data grows. `make bench`."""
