"""Tokens of users; keys that only read, or expire; and when each was last used."""

from peewee import Model, SqliteDatabase, TextField

COLUMNS = {
    "is_read_only": "{boolean} NOT NULL DEFAULT FALSE",
    "expires_at": "TEXT",
    "used_at": "TEXT",
}


def up(migrator, db):
    on_sqlite = isinstance(db, SqliteDatabase)

    class UserToken(Model):
        id = TextField(primary_key=True)
        digest = TextField(unique=True)
        key_id = TextField(null=True)
        project_id = TextField(null=True)
        user_id = TextField()
        created_at = TextField()
        expires_at = TextField()
        used_at = TextField(null=True)

        class Meta:
            database = db
            legacy_table_names = False
            without_rowid = on_sqlite
            indexes = ((("user_id",), False), (("expires_at",), False))

    UserToken.create_table()
    boolean = "INTEGER" if on_sqlite else "BOOLEAN"  # as Peewee makes a table's columns there
    for column, kind in COLUMNS.items():
        definition = kind.format(boolean=boolean)
        db.execute_sql(f'ALTER TABLE "api_key" ADD COLUMN "{column}" {definition}')


def down(migrator, db):
    for column in COLUMNS:
        db.execute_sql(f'ALTER TABLE "api_key" DROP COLUMN "{column}"')
    db.execute_sql('DROP TABLE "user_token"')
