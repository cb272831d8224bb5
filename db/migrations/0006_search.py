"""The search index. It is empty: whoever writes fills it, or `python -m db index` does."""

from peewee import BigIntegerField, Model, SqliteDatabase, TextField

# Words come as they are to be found, with one space between them, so no tokenizer has to know
# scripts. The index keeps no text: it asks `search_document` for what it has to take away.
FTS5 = (
    "CREATE VIRTUAL TABLE search_index USING fts5(terms, content='search_document', "
    "content_rowid='number', columnsize=0, tokenize=\"ascii tokenchars '_'\")"
)
# Triggers for what is seldom done. With one for what is added, FTS5 would write to the disk with
# each document: 39 µs instead of 19.
ADD = "INSERT INTO search_index (rowid, terms) VALUES (new.number, new.terms);"
REMOVE = (
    "INSERT INTO search_index (search_index, rowid, terms) "
    "VALUES ('delete', old.number, old.terms);"
)
TRIGGERS = {
    "search_document_removed": ("AFTER DELETE", REMOVE),
    "search_document_changed": ("AFTER UPDATE OF terms", f"{REMOVE} {ADD}"),
}


def up(migrator, db):
    on_sqlite = isinstance(db, SqliteDatabase)

    class SearchDocument(Model):
        number = BigIntegerField(primary_key=True)
        id = TextField(unique=True)
        terms = TextField()

        class Meta:
            database = db
            legacy_table_names = False

    class SearchProgress(Model):
        changed = BigIntegerField()
        conversation_id = TextField()

        class Meta:
            database = db
            legacy_table_names = False
            primary_key = False

    SearchDocument.create_table()
    SearchProgress.create_table()
    db.execute_sql("INSERT INTO search_progress (changed, conversation_id) VALUES (0, '')")
    number = "INTEGER" if on_sqlite else "BIGINT"
    db.execute_sql(
        f'ALTER TABLE "conversation" ADD COLUMN "indexed_version" {number} NOT NULL DEFAULT 0'
    )
    if on_sqlite:
        db.execute_sql(FTS5)
        for name, (moment, action) in TRIGGERS.items():
            db.execute_sql(f"CREATE TRIGGER {name} {moment} ON search_document BEGIN {action} END")
    else:
        db.execute_sql("ALTER TABLE search_document ALTER COLUMN terms TYPE TSVECTOR USING NULL")
        db.execute_sql("CREATE INDEX search_document_terms ON search_document USING GIN (terms)")


def down(migrator, db):
    if isinstance(db, SqliteDatabase):
        db.execute_sql("DROP TABLE search_index")
    db.execute_sql("DROP TABLE search_document")
    db.execute_sql("DROP TABLE search_progress")
    db.execute_sql('ALTER TABLE "conversation" DROP COLUMN "indexed_version"')
