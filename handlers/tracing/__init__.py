"""Spans, which tell a collector what a request did, and for how long. Both rooms beside use it."""
