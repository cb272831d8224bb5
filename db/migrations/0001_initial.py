"""Conversations, messages, their events and streams, API keys, idempotency keys."""

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    CompositeKey,
    IntegerField,
    Model,
    SqliteDatabase,
    TextField,
)


def up(migrator, db):
    on_sqlite = isinstance(db, SqliteDatabase)
    in_conversation = [
        SQL("FOREIGN KEY (conversation_id) REFERENCES conversation (id) ON DELETE CASCADE")
    ]

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Conversation(Table):
        id = TextField(unique=True)
        project_id = TextField()
        user_id = TextField(null=True)
        title = TextField(null=True)
        is_archived = BooleanField()
        created_at = TextField()
        updated_at = TextField()
        last_message_id = TextField(null=True)
        version = BigIntegerField()

        class Meta:
            without_rowid = on_sqlite
            primary_key = CompositeKey("project_id", "id")

    has_user = Conversation.user_id.is_null(False)
    for name, *fields in (
        ("conversation_of_user_in_project", Conversation.project_id, Conversation.user_id),
        ("conversation_of_user", Conversation.user_id),
    ):
        Conversation.add_index(
            Conversation.index(*fields, Conversation.id, where=has_user, name=name)
        )
    Conversation.add_index(
        Conversation.index(
            Conversation.project_id,
            Conversation.id,
            where=Conversation.is_archived,
            name="conversation_archived",
        )
    )

    class Message(Table):
        conversation_id = TextField()
        position = BigIntegerField()
        id = TextField()
        role = TextField()
        content = TextField()
        content_type = TextField()
        status = TextField()
        metadata = TextField(null=True)
        created_at = TextField()
        updated_at = TextField()
        revision = BigIntegerField()
        streamed_from = IntegerField(null=True)

        class Meta:
            without_rowid = on_sqlite
            primary_key = CompositeKey("conversation_id", "position")
            constraints = in_conversation
            indexes = ((("conversation_id", "id"), True),)

    class Event(Table):
        conversation_id = TextField()
        position = BigIntegerField()
        kind = TextField()
        message_id = TextField(null=True)
        offset = IntegerField()
        length = IntegerField()
        text = TextField(null=True)

        class Meta:
            without_rowid = on_sqlite
            primary_key = CompositeKey("conversation_id", "position")
            constraints = in_conversation

    class Stream(Table):
        conversation_id = TextField()
        message_id = TextField()
        length = IntegerField()
        updated_at = TextField()

        class Meta:
            without_rowid = on_sqlite
            primary_key = CompositeKey("conversation_id", "message_id")
            constraints = in_conversation

    class ApiKey(Table):
        id = TextField(primary_key=True)
        digest = TextField(unique=True)
        project_id = TextField(null=True)
        name = TextField(null=True)
        created_at = TextField()
        revoked_at = TextField(null=True)

        class Meta:
            without_rowid = on_sqlite

    class IdempotencyKey(Table):
        caller = TextField()
        key = TextField()
        fingerprint = TextField()
        created_at = TextField()
        status = IntegerField(null=True)
        headers = TextField(null=True)
        body = TextField(null=True)

        class Meta:
            without_rowid = on_sqlite
            primary_key = CompositeKey("caller", "key")
            indexes = ((("created_at",), False),)

    for table in (Conversation, Message, Event, Stream, ApiKey, IdempotencyKey):
        table.create_table()


def down(migrator, db):
    for name in ("idempotency_key", "api_key", "stream", "event", "message", "conversation"):
        db.execute_sql(f"DROP TABLE {name}")
