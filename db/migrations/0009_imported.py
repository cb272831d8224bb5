"""What was imported: which conversation was made of which conversation of an export."""

from peewee import CompositeKey, Model, SqliteDatabase, TextField


def up(migrator, db):
    on_sqlite = isinstance(db, SqliteDatabase)

    class Imported(Model):
        project_id = TextField()
        user_id = TextField()
        source = TextField()
        conversation_id = TextField()
        sha256 = TextField()

        class Meta:
            database = db
            primary_key = CompositeKey("project_id", "user_id", "source")
            without_rowid = on_sqlite

    Imported.create_table()


def down(migrator, db):
    db.execute_sql('DROP TABLE "imported"')
