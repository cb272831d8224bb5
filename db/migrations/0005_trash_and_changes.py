"""The trash, tombstones of what was purged, and the numbers by which the feed of changes goes."""

from peewee import BigIntegerField, Model, SqliteDatabase, TextField

FLAGS = ("is_archived", "is_pinned")
HAS_USER, IS_KEPT = '("user_id" IS NOT NULL)', '("deleted_at" IS NULL)'
# They lose what is in the trash.
KEPT_INDEXES = {
    "conversation_by_age": ("project_id", *FLAGS, "id"),
    "conversation_of_all_by_age": (*FLAGS, "id"),
    "conversation_by_activity": ("project_id", *FLAGS, "activity"),
}
KEPT_USER_INDEXES = {
    "conversation_of_user_in_project": ("user_id", "project_id", "id"),
    "conversation_of_user": ("user_id", "id"),
    "conversation_of_user_in_project_by_activity": ("user_id", "project_id", *FLAGS, "activity"),
}
NEW_INDEXES = {
    ("conversation", "conversation_in_trash"): (
        ("project_id", "deleted_at", "id"),
        f"NOT {IS_KEPT}",
    ),
    ("conversation", "conversation_of_all_in_trash"): (("deleted_at", "id"), f"NOT {IS_KEPT}"),
    ("conversation", "conversation_of_user_in_trash"): (
        ("user_id", "project_id", "deleted_at", "id"),
        f"({HAS_USER} AND NOT {IS_KEPT})",
    ),
    ("conversation", "conversation_of_user_in_all_trash"): (
        ("user_id", "deleted_at", "id"),
        f"({HAS_USER} AND NOT {IS_KEPT})",
    ),
    ("conversation", "conversation_changed"): (("changed", "id", "project_id", "user_id"), None),
    ("tombstone", "tombstone_changed"): (("changed", "id", "project_id", "user_id"), None),
    ("tombstone", "tombstone_deleted"): (("deleted_at",), None),
}
KEY_INDEX = (
    'CREATE UNIQUE INDEX "conversation_key" ON "conversation" '
    '("project_id", COALESCE("user_id", \'\'), "key") WHERE '
)


def up(migrator, db):
    on_sqlite = isinstance(db, SqliteDatabase)

    class Tombstone(Model):
        id = TextField(primary_key=True)
        project_id = TextField()
        user_id = TextField(null=True)
        deleted_at = TextField()
        changed = BigIntegerField()

        class Meta:
            database = db
            without_rowid = on_sqlite

    Tombstone.create_table()
    if not on_sqlite:
        db.execute_sql("CREATE SEQUENCE change_base MINVALUE 0 START 0")
    number = "INTEGER" if on_sqlite else "BIGINT"
    db.execute_sql('ALTER TABLE "conversation" ADD COLUMN "deleted_at" TEXT')
    db.execute_sql(f'ALTER TABLE "conversation" ADD COLUMN "changed" {number} NOT NULL DEFAULT 0')
    # Any order will do: nobody has read the feed.
    db.execute_sql(
        'UPDATE "conversation" SET "changed" = numbered."number" FROM (SELECT "id", row_number() '
        'OVER (ORDER BY "activity") AS "number" FROM "conversation") AS numbered '
        'WHERE numbered."id" = "conversation"."id"'
    )
    _index(db, KEPT_INDEXES, f" WHERE {IS_KEPT}")
    _index(db, KEPT_USER_INDEXES, f" WHERE ({HAS_USER} AND {IS_KEPT})")
    db.execute_sql('DROP INDEX "conversation_key"')
    db.execute_sql(f'{KEY_INDEX}(("key" IS NOT NULL) AND {IS_KEPT})')
    for (table, name), (columns, where) in NEW_INDEXES.items():
        _create(db, table, name, columns, f" WHERE {where}" if where else "")


def down(migrator, db):
    db.execute_sql('DELETE FROM "conversation" WHERE "deleted_at" IS NOT NULL')
    for (table, name), _ in NEW_INDEXES.items():
        if table == "conversation":
            db.execute_sql(f'DROP INDEX "{name}"')
    db.execute_sql('DROP TABLE "tombstone"')
    if not isinstance(db, SqliteDatabase):
        db.execute_sql("DROP SEQUENCE change_base")
    _index(db, KEPT_INDEXES, "")
    _index(db, KEPT_USER_INDEXES, f" WHERE {HAS_USER}")
    db.execute_sql('DROP INDEX "conversation_key"')
    db.execute_sql(f'{KEY_INDEX}("key" IS NOT NULL)')
    for column in ("changed", "deleted_at"):
        db.execute_sql(f'ALTER TABLE "conversation" DROP COLUMN "{column}"')


def _index(db, indexes, where):
    for name, columns in indexes.items():
        db.execute_sql(f'DROP INDEX "{name}"')
        _create(db, "conversation", name, columns, where)


def _create(db, table, name, columns, where):
    listed = ", ".join(f'"{column}"' for column in columns)
    db.execute_sql(f'CREATE INDEX "{name}" ON "{table}" ({listed}){where}')
