"""Work on whole databases: the schema, a backup, a copy into another database."""
