"""The routes: one module for each resource, one function for each endpoint."""
