"""Clients that write and read, repeat what is not answered, and know what must be stored."""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable

from .client import PATIENCE_SECONDS, Answer, Client, Cut
from .model import Conversation, Text, texts_of
from .tally import Tally

CONVERSATIONS = "/api/v1/conversations"
OPEN_CONVERSATIONS = 12  # of each writer, at any moment
CHANGES = 150  # until a conversation is finished and another one takes its place
PAUSE_SECONDS = 0.02  # the average between two operations of a writer
RETRY_SECONDS = 0.1
# So many clients leave before the answer and ask again, as on a bad network. A SIGKILL between a
# commit and its answer is rare, and this is the same to a client.
IMPATIENT_SHARE, IMPATIENT_SECONDS = 0.02, 0.003
STREAM_TIMEOUT = 60  # seconds, the server's default
WORDS = ["who", "what", "then", "there", "store", "read", "write", "ağaç", "🦊"]


class Unexpected(Exception):
    """An answer that makes unclear what is stored."""


class Writer:
    """Works on the conversations of a project that nobody else changes."""

    def __init__(self, name: str, port: int, tally: Tally, stopping: asyncio.Event) -> None:
        self.name, self.tally, self.stopping = name, tally, stopping
        self.project_id = str(uuid.uuid4())
        self.open: list[Conversation] = []
        self.finished: list[Conversation] = []  # to be read back at the end
        self.deleted: set[str] = set()
        self._client = Client(port)
        self._number = 0

    async def run(self) -> None:
        """Work until `stopping`. Then finish all conversations."""
        self.open = [await self._start() for _ in range(OPEN_CONVERSATIONS)]
        operations: dict[Callable[[Conversation], Awaitable[None]], int] = {
            self.append: 35, self.append_batch: 8, self.stream: 6, self.edit: 8, self.delete: 5,
            self.rename: 3, self.archive: 3, self.get: 8, self.list_newest: 6, self.page: 6,
            self.start_and_delete: 2,
        }  # fmt: skip
        while not self.stopping.is_set():
            (work,) = random.choices(list(operations), list(operations.values()))
            index = random.randrange(OPEN_CONVERSATIONS)
            try:
                await work(self.open[index])
                if self.open[index].changes >= CHANGES:
                    await self.finish(index)
            except Unexpected as error:
                self.tally.note("unexpected answer", f"{self.name}, {work.__name__}: {error}")
                self.open[index].is_abandoned = True
                self.open[index] = await self._start()
            await asyncio.sleep(random.expovariate(1 / PAUSE_SECONDS))
        for conversation in self.open:
            await self._seal(conversation)
        self._client.close()

    async def finish(self, index: int) -> None:
        conversation = self.open[index]
        self.open[index] = await self._start()
        await self._seal(conversation)

    async def _seal(self, conversation: Conversation) -> None:
        answer = await self.get(conversation)
        conversation.seal(int(answer.headers["etag"].strip('"')))
        self.finished.append(conversation)

    # --- Operations

    async def _start(self) -> Conversation:
        title = self._text()
        body = {"project_id": self.project_id, "title": title}
        answer = await self._write("create", "POST", CONVERSATIONS, body)
        return Conversation(answer.json()["id"], title)

    async def start_and_delete(self, _: Conversation) -> None:
        """Nobody follows this one."""
        conversation = await self._start()
        await self.append(conversation)
        path = f"{CONVERSATIONS}/{conversation.id}"
        await self._write("delete conversation", "DELETE", path)
        self.deleted.add(conversation.id)

    async def append(self, conversation: Conversation) -> None:
        body = {"role": "user", "content": self._text()}
        answer = await self._write("append", "POST", _messages(conversation), body)
        self._note_messages(conversation, answer, [body["content"]])

    async def append_batch(self, conversation: Conversation) -> None:
        contents = [self._text() for _ in range(random.randint(2, 5))]
        body = [{"role": "user", "content": content} for content in contents]
        answer = await self._write("append a list", "POST", _messages(conversation), body)
        self._note_messages(conversation, answer, contents)

    async def stream(self, conversation: Conversation) -> None:
        """Write a message piece by piece, with a pause after each piece, as a model's answer."""
        draft = {"role": "assistant", "content": "", "status": "in_progress"}
        answer = await self._write("open stream", "POST", _messages(conversation), draft)
        id = answer.json()["id"]
        conversation.texts[id] = text = Text.of(draft)
        path = f"{_messages(conversation)}/{id}/append"
        pieces = random.randint(3, 20)
        for number in range(pieces):
            delta = f"{random.choice(WORDS)} {number} "
            body = {"offset": text.length, "delta": delta}
            if number == pieces - 1:
                body["status"] = "completed"
            began = time.monotonic()
            try:
                await self._write("stream", "POST", path, body)
            except Unexpected:
                if time.monotonic() - began < STREAM_TIMEOUT:
                    raise
                self.tally.retried["stream gave up"] += 1
                answer = await self._read(path.removesuffix("/append"))
                conversation.texts[id] = Text.of(answer.json())
                return
            text = text.with_piece(delta)
            conversation.texts[id] = text
            await asyncio.sleep(random.expovariate(1 / PAUSE_SECONDS))
        conversation.texts[id] = text._replace(status="completed")
        conversation.changes += 2

    async def edit(self, conversation: Conversation) -> None:
        if conversation.texts:
            id = random.choice(list(conversation.texts))
            body = {"content": self._text()}
            await self._write("edit", "PATCH", f"{_messages(conversation)}/{id}", body)
            status = conversation.texts[id].status
            conversation.texts[id] = Text.of({**body, "status": status})
            conversation.changes += 1

    async def delete(self, conversation: Conversation) -> None:
        if conversation.texts:
            id = random.choice(list(conversation.texts))
            await self._write("delete", "DELETE", f"{_messages(conversation)}/{id}")
            del conversation.texts[id]
            conversation.deleted.add(id)
            conversation.changes += 1

    async def rename(self, conversation: Conversation) -> None:
        title = self._text()
        path = f"/projects/{self.project_id}/conversations/{conversation.id}/rename"
        await self._write("rename", "POST", path, {"title": title})
        conversation.title = title
        conversation.changes += 1

    async def archive(self, conversation: Conversation) -> None:
        is_archived = not conversation.is_archived
        place = f"/projects/{self.project_id}/conversations/{conversation.id}"
        path = f"{place}/archive?is_archived={str(is_archived).lower()}"
        await self._write("archive", "POST", path)
        conversation.is_archived = is_archived
        conversation.changes += 1

    async def get(self, conversation: Conversation) -> Answer:
        """Read one's own writes."""
        answer = await self._read(f"{CONVERSATIONS}/{conversation.id}")
        self.compare(conversation, answer)
        return answer

    async def list_newest(self, _: Conversation) -> None:
        await self._read(f"{CONVERSATIONS}?project_id={self.project_id}&limit=3")

    async def page(self, conversation: Conversation) -> None:
        answer = await self._read(f"{_messages(conversation)}?order=desc&limit=20")
        newest = [message["id"] for message in answer.json()["messages"]]
        if newest != list(conversation.texts)[::-1][:20]:
            self.tally.note("wrong page", conversation.id)

    # --- What is stored

    def compare(self, conversation: Conversation, answer: Answer) -> None:
        if answer.status != 200:
            self.tally.note("lost", f"{conversation.id}: {answer.status} {answer.body[:200]!r}")
            return
        found = answer.json()
        different = conversation.differences(found["title"], texts_of(found["messages"]))
        for kind, count in different.items():
            self.tally.note(kind, f"{count} in {conversation.id}")

    async def read_all_back(self) -> int:
        """Compare all that is stored with all that was acknowledged. Returns the conversations."""
        for conversation in self.finished:
            self.compare(conversation, await self._read(f"{CONVERSATIONS}/{conversation.id}"))
        expected = {conversation.id: conversation for conversation in self.finished}
        listed = {row["id"]: row for row in await self._list_all()}
        for id in listed.keys() - expected.keys():
            kind = "lost deletion" if id in self.deleted else "doubled"
            self.tally.note(kind, f"conversation {id}")
        for id, conversation in expected.items():
            if id not in listed:
                self.tally.note("lost", f"conversation {id} in the list")
            elif listed[id]["is_archived"] != conversation.is_archived:
                self.tally.note("lost", f"the flag of conversation {id}")
        return len(expected)

    async def _list_all(self) -> list[dict]:
        path, rows, after = f"/projects/{self.project_id}/conversations?limit=100", [], ""
        while True:
            page = (await self._read(path + after)).json()
            rows += page["data"]
            if not page["has_more"]:
                return rows
            after = f"&after={page['last_id']}"

    # --- Requests

    async def _write(self, name: str, method: str, path: str, body: object = None) -> Answer:
        """Send it until it is acknowledged. Raises Unexpected."""
        headers = {"Idempotency-Key": str(uuid.uuid4())} if method == "POST" else {}
        # Only a key protects from a request that arrives late, behind the next one.
        is_impatient = bool(headers) and random.random() < IMPATIENT_SHARE
        patience = random.random() * IMPATIENT_SECONDS if is_impatient else PATIENCE_SECONDS
        began, is_cut = time.monotonic(), False
        while True:
            try:
                answer = await self._client.send(method, path, body, headers, patience)
            except Cut:
                left = patience < PATIENCE_SECONDS
                self.tally.retried["client left" if left else "connection cut"] += 1
                is_cut, patience = True, PATIENCE_SECONDS
                await asyncio.sleep(0 if left else RETRY_SECONDS)
                continue
            # The answer to a deletion that was done may be lost.
            if answer.status < 300 or (method == "DELETE" and is_cut and answer.status == 404):
                self.tally.acknowledged[name] += 1
                self.tally.writes.add(began)
                self.tally.during("writes acknowledged")
                return answer
            if not await self._may_repeat(answer):
                raise Unexpected(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
            self.tally.during("writes refused")

    async def _read(self, path: str) -> Answer:
        while True:
            try:
                answer = await self._client.send("GET", path)
            except Cut:
                self.tally.retried["connection cut"] += 1
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if not await self._may_repeat(answer):
                return answer

    async def _may_repeat(self, answer: Answer) -> bool:
        if answer.status < 400 or answer.problem not in ("unavailable", "request-in-progress"):
            return False
        self.tally.retried[f"{answer.status} {answer.problem}"] += 1
        await asyncio.sleep(float(answer.headers.get("retry-after", RETRY_SECONDS)))
        return True

    def _note_messages(
        self, conversation: Conversation, answer: Answer, contents: list[str]
    ) -> None:
        given = answer.json()
        rows = given if isinstance(given, list) else [given]
        for row, content in zip(rows, contents, strict=True):
            conversation.texts[row["id"]] = Text.of({"content": content, "status": "completed"})
        conversation.changes += 1

    def _text(self) -> str:
        """A text that no other write has."""
        self._number += 1
        words = " ".join(random.choices(WORDS, k=random.randint(1, 30)))
        return f"{self.name} {self._number}: {words}."


def _messages(conversation: Conversation) -> str:
    return f"{CONVERSATIONS}/{conversation.id}/messages"
