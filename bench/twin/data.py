"""Fill the twin's database with the rows of ours."""

from pathlib import Path

from sqlalchemy import text

from .models import Base, engine_at

DATETIME = "replace(replace({0}, 'T', ' '), 'Z', '000')"  # as SQLAlchemy stores it
TIMES = f"{DATETIME.format('created_at')}, {DATETIME.format('updated_at')}"


def copy(ours: Path, to: Path) -> None:
    engine = engine_at(str(to))
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        connection.execute(text("ATTACH :path AS ours"), {"path": str(ours)})
        connection.execute(
            text(
                "INSERT INTO conversations SELECT id, project_id, user_id, title, is_archived, "
                f"{TIMES}, last_message_id FROM ours.conversation"
            )
        )
        connection.execute(
            text(
                "INSERT INTO messages SELECT id, conversation_id, role, json_quote(content), "
                f"status, metadata, {TIMES} FROM ours.message"
            )
        )
        connection.execute(text("INSERT INTO api_keys SELECT digest, project_id FROM ours.api_key"))
        connection.commit()
    engine.dispose()
