"""A column for what a chat's retry is made from, which was two ids in a made-up response."""

from peewee import TextField


def up(migrator, db):
    migrator.migrate(migrator.add_column("idempotency_key", "reference", TextField(null=True)))
    # Only a chat left these headers. All other responses have a Content-Type.
    db.execute_sql(
        "UPDATE idempotency_key SET reference = body, status = NULL, headers = NULL, body = NULL "
        "WHERE headers = '{}'"
    )


def down(migrator, db):
    db.execute_sql(
        "UPDATE idempotency_key SET body = reference, status = 200, headers = '{}' "
        "WHERE reference IS NOT NULL"
    )
    db.execute_sql("ALTER TABLE idempotency_key DROP COLUMN reference")
