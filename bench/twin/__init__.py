"""The twin: both APIs with FastAPI, SQLAlchemy 2 and uvicorn, as a good user writes them."""
