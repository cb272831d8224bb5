"""What all routes share: typed endpoints, problems, the caller, idempotency, the API's page."""
