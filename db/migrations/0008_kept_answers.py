"""Answers that belong to no conversation, kept for a day."""

from peewee import Model, SqliteDatabase, TextField


def up(migrator, db):
    on_sqlite = isinstance(db, SqliteDatabase)

    class KeptAnswer(Model):
        id = TextField(primary_key=True)
        project_id = TextField()
        user_id = TextField(null=True)
        created_at = TextField()
        messages = TextField()

        class Meta:
            database = db
            legacy_table_names = False
            without_rowid = on_sqlite
            indexes = ((("user_id",), False), (("created_at",), False))

    KeptAnswer.create_table()


def down(migrator, db):
    db.execute_sql('DROP TABLE "kept_answer"')
