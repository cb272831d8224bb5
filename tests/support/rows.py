"""Rows of every kind that a store can hold, with texts that are hard to store."""

import json

from db import (
    answers,
    api_keys,
    conversations,
    idempotency_keys,
    messages,
    streams,
    transcripts,
    trash,
    user_tokens,
)
from db.clock import new_id
from db.engine.database import database
from db.idempotency_keys import Claim, Outcome
from db.messages import Draft
from db.models import Imported, ImportedRow, Item
from db.scope import EVERYTHING, Scope

from .world import PROJECT

# Text that COPY, Python, C or a terminal may treat specially.
ODD_TEXTS = [
    "",
    " ",
    "\\N",
    "\\.",
    "\\\\n\\x41",
    "a\tb\nc\r\nd\re",
    "100 % of %s and %(name)s, {} and $1",
    "it's \"quoted\", `so` and 'so'; -- DROP TABLE message",
    "\x01\x1b[31m\x7f\x85\u2028",
    "naïve café cafe\u0301 ﬁ ß İ",
    "日本語 עברית \u202eright to left\u202c",
    "👩‍👩‍👧‍👦 🏳️‍🌈 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff \ufffe\uffff",
]


def store_rows_of_every_kind() -> None:
    bob = Scope(PROJECT, "bob")
    for text in ODD_TEXTS:
        conversations.start(EVERYTHING, text or PROJECT, text)
        conversation = conversations.start(Scope(None, text or None), PROJECT, None)
        drafts = [
            Draft("user", text),
            Draft("assistant", [{"type": text, "": [text, None, 1.5]}], metadata={text: 10**400}),
            Draft("tool", text, "incomplete", {}),
        ]
        messages.append(EVERYTHING, conversation.id, drafts)
        make_a_tree(text)
        idempotency_keys.claim(Claim(text, text, "fingerprint"))
        Imported.insert(ImportedRow(text, text, f"grok:{text}", text, text)._asdict()).execute()
    outcome = Outcome(201, json.dumps({"Location": "/"}), ODD_TEXTS[-1])
    idempotency_keys.settle(Claim("", "", "fingerprint"), outcome)
    *_, streaming, edited = messages.append(
        EVERYTHING,
        conversations.start(bob, PROJECT, "Streaming").id,
        [Draft("assistant", "", "in_progress"), Draft("user", "Hello")],
    )
    for offset in (0, 3):
        streams.append(EVERYTHING, streaming.conversation_id, streaming.id, offset, "a😀b")
    messages.edit(EVERYTHING, edited.conversation_id, edited.id, content="Edited")
    conversations.change(EVERYTHING, edited.conversation_id, is_archived=True)
    for purges in (False, True):
        gone = conversations.start(bob, PROJECT, "Gone", tags=["gone"]).id
        conversations.remove(EVERYTHING, gone)
        if purges:
            trash.purge(EVERYTHING, gone)
    kept = [
        Draft("user", "Hi", id=new_id()),
        Draft("assistant", Item([{"type": "x"}]), id=new_id()),
    ]
    answers.keep(bob, PROJECT, str(kept[1].id), kept[:1], kept[1:])
    user_tokens.make("bob", PROJECT, 60, api_keys.make(PROJECT, "phone")[1].id)
    api_keys.revoke(api_keys.make()[1].id)
    database.close()


def make_a_tree(text: str) -> None:
    """A conversation that has branches, a deleted message, and all that a side bar shows."""
    conversation = conversations.start(
        Scope(PROJECT, text or None),
        PROJECT,
        key=f"key {text}",
        tags=[f"tag {text}", "planning"],
        metadata={text: [text]},
    )

    def say(client_id: str, parent_id: str | None) -> str:
        draft = Draft("user", text, parent_id=parent_id, client_id=client_id)
        return messages.append(EVERYTHING, conversation.id, [draft])[0].id

    root = say(f"root {text}", None)
    first, second = say("first", root), say("second", root)
    say(text, None)
    messages.remove(EVERYTHING, conversation.id, second)
    transcripts.change(EVERYTHING, conversation.id, last_message_id=first, is_pinned=True)
    conversations.change(EVERYTHING, conversation.id, is_held=True)
