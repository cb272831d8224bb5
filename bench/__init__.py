"""Benchmarks: against a FastAPI twin, alternatives and raw SQLite, and as the data grows."""
