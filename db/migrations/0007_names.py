"""The index of keys begins with the key: so a name is found, whoever has it."""

INDEX = 'CREATE UNIQUE INDEX "conversation_key" ON "conversation" ({columns}) WHERE {where}'
OWNER = ('"project_id"', "COALESCE(\"user_id\", '')")
WHERE = '(("key" IS NOT NULL) AND ("deleted_at" IS NULL))'


def up(migrator, db):
    _index(db, '"key"', *OWNER)


def down(migrator, db):
    _index(db, *OWNER, '"key"')


def _index(db, *columns):
    db.execute_sql('DROP INDEX "conversation_key"')
    db.execute_sql(INDEX.format(columns=", ".join(columns), where=WHERE))
