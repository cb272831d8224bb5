"""Branches, client ids, keys, tags, pins, holds, metadata, and lists by activity.

All that was stored is a line of messages, which is what the new columns say by their defaults. So
no message is written. Each conversation is written once, for its activity.
"""

from peewee import SQL, BooleanField, CompositeKey, Model, SqliteDatabase, TextField

FLAGS = ("is_archived", "is_pinned")
CONVERSATION_INDEXES = {
    "conversation_by_age": ("project_id", *FLAGS, "id"),
    "conversation_of_all_by_age": (*FLAGS, "id"),
    "conversation_by_activity": ("project_id", *FLAGS, "activity"),
}
USER_INDEXES = {
    "conversation_of_user_in_project": ("user_id", "project_id", "id"),
    "conversation_of_user_in_project_by_activity": ("user_id", "project_id", *FLAGS, "activity"),
}
TAG_INDEXES = {
    "tag_by_age": ("project_id", "name", *FLAGS, "conversation_id"),
    "tag_of_all_by_age": ("name", *FLAGS, "conversation_id"),
    "tag_by_activity": ("project_id", "name", *FLAGS, "activity"),
}
COLUMNS = {
    "conversation": {
        "key": "TEXT",
        "is_pinned": "{boolean} NOT NULL DEFAULT FALSE",
        "is_held": "{boolean} NOT NULL DEFAULT FALSE",
        "tags": "TEXT",
        "metadata": "TEXT",
        "activity": "TEXT NOT NULL DEFAULT ''",
        "is_branched": "{boolean} NOT NULL DEFAULT FALSE",
    },
    "message": {"client_id": "TEXT", "parent": "{bigint}"},
    "event": {"parent_id": "TEXT"},
}


def up(migrator, db):
    on_sqlite = isinstance(db, SqliteDatabase)
    in_conversation = [
        SQL("FOREIGN KEY (conversation_id) REFERENCES conversation (id) ON DELETE CASCADE")
    ]

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Tag(Table):
        conversation_id = TextField()
        name = TextField()
        project_id = TextField()
        is_archived = BooleanField()
        is_pinned = BooleanField()
        activity = TextField()

        class Meta:
            without_rowid = on_sqlite
            primary_key = CompositeKey("conversation_id", "name")
            constraints = in_conversation

    class ClientId(Table):
        conversation_id = TextField()
        client_id = TextField()
        message_id = TextField()
        digest = TextField()
        parent_id = TextField(null=True)

        class Meta:
            without_rowid = on_sqlite
            primary_key = CompositeKey("conversation_id", "client_id")
            constraints = in_conversation

    types = {"boolean": "BOOLEAN", "bigint": "BIGINT"}
    if on_sqlite:  # as Peewee makes a table's columns there
        types = dict.fromkeys(types, "INTEGER")
    for table, columns in COLUMNS.items():
        for name, kind in columns.items():
            definition = kind.format(**types)
            db.execute_sql(f'ALTER TABLE "{table}" ADD COLUMN "{name}" {definition}')
    db.execute_sql("UPDATE conversation SET activity = COALESCE(last_message_id, id)")
    for name in ("conversation_archived", "conversation_of_user_in_project"):
        db.execute_sql(f'DROP INDEX "{name}"')
    for table in (Tag, ClientId):
        table.create_table()
    for table, indexes, where in (
        ("conversation", CONVERSATION_INDEXES, ""),
        ("conversation", USER_INDEXES, ' WHERE ("user_id" IS NOT NULL)'),
        ("tag", TAG_INDEXES, ""),
    ):
        for name, columns in indexes.items():
            listed = ", ".join(f'"{column}"' for column in columns)
            db.execute_sql(f'CREATE INDEX "{name}" ON "{table}" ({listed}){where}')
    db.execute_sql(
        'CREATE UNIQUE INDEX "conversation_key" ON "conversation" '
        '("project_id", COALESCE("user_id", \'\'), "key") WHERE ("key" IS NOT NULL)'
    )
    db.execute_sql(
        'CREATE INDEX "message_branch" ON "message" ("conversation_id", "position", "parent") '
        'WHERE ("parent" IS NOT NULL)'
    )


def down(migrator, db):
    for name in (*CONVERSATION_INDEXES, *USER_INDEXES, "conversation_key", "message_branch"):
        db.execute_sql(f'DROP INDEX "{name}"')
    for name in ("tag", "client_id"):
        db.execute_sql(f'DROP TABLE "{name}"')
    for table, columns in COLUMNS.items():
        for name in columns:
            db.execute_sql(f'ALTER TABLE "{table}" DROP COLUMN "{name}"')
    db.execute_sql(
        'CREATE INDEX "conversation_of_user_in_project" ON "conversation" '
        '("project_id", "user_id", "id") WHERE ("user_id" IS NOT NULL)'
    )
    db.execute_sql(
        'CREATE INDEX "conversation_archived" ON "conversation" ("project_id", "id") '
        'WHERE "is_archived"'
    )
