"""The index of the messages' ids begins with the id: an append writes one page less."""


def up(migrator, db):
    db.execute_sql(
        'CREATE UNIQUE INDEX "message_id_conversation_id" ON "message" ("id", "conversation_id")'
    )
    db.execute_sql('DROP INDEX "message_conversation_id_id"')


def down(migrator, db):
    db.execute_sql(
        'CREATE UNIQUE INDEX "message_conversation_id_id" ON "message" ("conversation_id", "id")'
    )
    db.execute_sql('DROP INDEX "message_id_conversation_id"')
