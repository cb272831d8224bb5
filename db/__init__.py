"""The conversation store: Peewee models and everything that touches SQL. Knows no HTTP."""
