"""Tests with random stories and queries that search finds what a slow reference finds."""

import random
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from db import conversations, messages, search, search_index, streams, transcripts, trash
from db.engine.connect import Store
from db.messages import Draft
from db.models import IN_PROGRESS
from db.scope import EVERYTHING, Scope
from db.search import NEWEST, RELEVANCE, Hit, Place

from .support import search_reference as reference
from .support.search_reference import Text
from .support.world import OTHER_PROJECT, PROJECT

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

QUERIES = {"sqlite": 10_000, "postgresql": 900}
FUZZED = {"sqlite": 1_500, "postgresql": 250}
STORIES = 3  # for each size and each way to follow
STEPS = 150  # of a story, with queries after each of them
PROJECTS, USERS = (PROJECT, OTHER_PROJECT), (None, "alice", "bob")
ROLES = ("user", "user", "assistant", "assistant", "system", "tool")
FOLLOWS = ("at once", "half way", "never")
WORDS = [
    "café naïve Zürich Ærøskøbing señor İstanbul ﬁnal well-known e-mail 42 3½ O’Brien snake_case",
    "Straße STRASSE Fußgänger Größe Maß Käse so\u00adgar",
    "Οδός ΟΔΟΣ λόγος Ἀθῆναι ἄνθρωπος",
    "Ёлка ёж Москва й подъезд Україна",
    "كِتَاب كتاب مَدْرَسَة السَّلَامُ \u200fكتب",
    "שָׁלוֹם שלום סֵפֶר בַּיִת",
    "हिन्दी भाषा किताब नमस्ते क़लम",
    "東京 北京大学 图书馆 你好，世界 大学 好 見\ufa0a",
    "カタカナ ひらがな がっこう 学校 東京タワー ﾊﾝｶｸ コーヒー ㍿",
    "ภาษาไทย สวัสดี กรุงเทพ น้ำ ๔๒",
    "ភាសា ລາວ မြန်မာ བོད་ཡིག",
    "한국어 서울 안녕하세요 대학교 한",
    "👍 👍🏽 👩‍👩‍👧‍👦 ❤️ 🏳️‍🌈 © ™",
    "ＦＵＬＬ ｗｉｄｔｈ full WIDTH",
]
SCRIPTS = [words.split() for words in WORDS]
GLUES = ["", " "]
GLUE = [" ", " ", " ", ", ", "\n", "-", "", "… ", " \u3000"]
# All that means something to FTS5, to PostgreSQL or to LIKE, and text that is hard to fold.
HARD = [
    *("NEAR", "NEAR(", "AND", "OR", "NOT", "^", ":", "*", "+", "-", "(", ")", "{", "}", "[", "]"),
    *('"', '""', "'", "\\", "%", "_", "&", "|", "!", "<->", "<2>", ":*", ":A", "\0", ";", "--"),
    *("terms:", "rowid", "_t", "_u", "_unplaced", "_unlisted", "{terms} :", "a NEAR/2 b"),
    *("\u0301", "\u05bc", "\u3099", "\u200d", "\u200f", "\u202e", "\ufeff", "\ufffd", "\ufe0f"),
    *("\u0378", "\ue000", "\U0010ffff", "\U000e0041", "\x1f", "\x85", "\u2028", "\xa0", "\t"),
    *("a", "b", "ab", "É", "e\u0301", "ß", "ﬁ", "İ", "ı", "ς", "Σ", "½", "²", "ⅷ", "①", "㍿"),
    *("東", "京", "東京", "か", "が", "ｶﾞ", "カ", "ก", "กิ", "ນ", "한", "ᄒ", "ㅎ", "👍", "🏽", "🇩🇪"),
    *("ǅ", "ͅ", "ﷺ", "ﷲ", "𝔘", "Ⓐ", "ª", "々", "〆", "〇", "ー", "・", "ༀ", "ꀀ", "꒐"),
]


class Talk(NamedTuple):
    """The model of a conversation."""

    project_id: str
    user_id: str | None
    title: str | None
    is_archived: bool = False
    in_trash: bool = False


class Said(NamedTuple):
    """The model of a message."""

    conversation_id: str
    role: str
    text: str
    status: str


class Story:
    """Conversations that change at random, with their model."""

    def __init__(self, seed: str, follows: str) -> None:
        self.chance = random.Random(seed)
        self.follows = follows
        self.talks: dict[str, Talk] = {}
        self.said: dict[str, Said] = {}
        self.texts: list[Text] = []

    def live(self) -> list[Text]:
        found = []
        for id, talk in self.talks.items():
            if not talk.in_trash:
                owner = (talk.project_id, talk.user_id)
                found.append(Text(id, *owner, None, talk.is_archived, talk.title or ""))
        for id, said in self.said.items():
            talk = self.talks[said.conversation_id]
            if not talk.in_trash and said.status != IN_PROGRESS:
                owner = (talk.project_id, talk.user_id)
                found.append(Text(id, *owner, said.role, talk.is_archived, said.text))
        return found

    # --- Texts

    def text(self) -> str:
        scripts = self.chance.sample(SCRIPTS, 2)
        count = self.chance.choice([1, 2, 4, 8, 8, 15, 120])
        pieces = [self.vary(self.chance.choice(self.chance.choice(scripts))) for _ in range(count)]
        return "".join(piece + self.chance.choice(GLUE) for piece in pieces)

    def vary(self, text: str) -> str:
        """The same as another keyboard might write it."""
        kind = self.chance.choice(["", "", "", "NFC", "NFD", "NFKC", "upper", "lower", "wide"])
        if kind.startswith("NF"):
            return unicodedata.normalize(kind, text)
        if kind == "wide":
            return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
        return getattr(text, kind)() if kind else text

    # --- What happens

    def pick(self, in_trash: bool = False) -> str | None:
        ids = [id for id, talk in self.talks.items() if talk.in_trash == in_trash]
        return self.one_of(ids)

    def one_of(self, ids: list[str]) -> str | None:
        """Most is about what was new a moment ago."""
        if not ids:
            return None
        return self.chance.choice(ids[-4:] if self.chance.random() < 0.6 else ids)

    def pick_message(self, *statuses: str) -> str | None:
        ids = [
            id
            for id, said in self.said.items()
            if not self.talks[said.conversation_id].in_trash
            and (not statuses or said.status in statuses)
        ]
        return self.one_of(ids)

    def happen(self) -> None:
        kinds = ["append"] * 6 + ["edit", "finish"] * 4 + ["delete", "open", "write", "reopen"] * 2
        kinds += ["start", "restore", "rename"] * 2
        kinds += ["discard", "purge", "archive", "switch", "branch", "fork", "erase_title"]
        getattr(self, self.chance.choice(kinds))()
        if self.follows == "at once":
            while search_index.follow():
                pass
        elif self.follows == "half way" and self.chance.random() < 0.3:
            for _ in range(self.chance.choice([1, 1, 2, 50])):
                search_index.follow()
        self.texts = self.live()

    def start(self) -> None:
        talk = Talk(
            self.chance.choice(PROJECTS),
            self.chance.choice(USERS),
            self.chance.choice([None, self.text()[:200]]),
        )
        row = conversations.start(Scope(None, talk.user_id), talk.project_id, talk.title)
        self.talks[row.id] = talk

    def append(self, status: str = "completed") -> None:
        id = self.pick()
        if id is None:
            return
        drafts, model = [], []
        for _ in range(self.chance.choice([1, 2, 4, 7])):
            role, text = self.chance.choice(ROLES), self.text()
            content: Any = text
            if status != IN_PROGRESS:
                status = self.chance.choice(["completed", "completed", "incomplete"])
                if self.chance.random() < 0.2:
                    content, text = self.in_parts(text)
            drafts.append(Draft(role, content, status))
            model.append(Said(id, role, text, status))
        rows = messages.append(EVERYTHING, id, drafts)
        self.said |= {row.id: said for row, said in zip(rows, model, strict=True)}

    def in_parts(self, text: str) -> tuple[list[Any], str]:
        other = self.text()
        parts = [
            {"type": "text", "text": text},
            {"type": "image_url", "image_url": {"url": "https://hidden.example/words"}},
            {"type": "text", "text": other, "note": "hidden words"},
            {"type": "odd", "text": 7},
        ]
        return parts, f"{text}\n{other}"

    def branch(self) -> None:
        for id in [id for id in self.talks if not self.talks[id].in_trash]:
            ids = [m for m, said in self.said.items() if said.conversation_id == id]
            if ids and self.chance.random() < 0.3:
                parent_id = self.chance.choice([*ids, None])
                text = self.text()
                draft = Draft("user", text, parent_id=parent_id)
                (row,) = messages.append(EVERYTHING, id, [draft])
                self.said[row.id] = Said(id, "user", text, "completed")
                return

    def open(self) -> None:
        self.append(IN_PROGRESS)

    def edit(self) -> None:
        if (id := self.pick_message("completed", "incomplete")) is not None:
            said, text = self.said[id], self.text()
            messages.edit(EVERYTHING, said.conversation_id, id, content=text)
            self.said[id] = said._replace(text=text)

    def reopen(self) -> None:
        if (id := self.pick_message("completed", "incomplete")) is not None:
            said, text = self.said[id], self.text()
            of = (EVERYTHING, said.conversation_id, id)
            messages.edit(*of, content=text, status=IN_PROGRESS)
            self.said[id] = said._replace(text=text, status=IN_PROGRESS)

    def write(self, status: str | None = None) -> None:
        if (id := self.pick_message(IN_PROGRESS)) is not None:
            said, delta = self.said[id], self.text()
            offset = len(said.text)
            streams.append(EVERYTHING, said.conversation_id, id, offset, delta, status)
            new_status = status or IN_PROGRESS
            self.said[id] = said._replace(text=said.text + delta, status=new_status)

    def finish(self) -> None:
        self.write(self.chance.choice(["completed", "incomplete"]))

    def delete(self) -> None:
        if (id := self.pick_message()) is not None:
            messages.remove(EVERYTHING, self.said.pop(id).conversation_id, id)

    def discard(self) -> None:
        if (id := self.pick()) is not None:
            conversations.remove(EVERYTHING, id)
            self.talks[id] = self.talks[id]._replace(in_trash=True)

    def restore(self) -> None:
        if (id := self.pick(in_trash=True)) is not None:
            trash.restore(EVERYTHING, id)
            self.talks[id] = self.talks[id]._replace(in_trash=False)

    def purge(self) -> None:
        if (id := self.pick(in_trash=True)) is not None:
            trash.purge(EVERYTHING, id)
            del self.talks[id]
            self.said = {m: said for m, said in self.said.items() if said.conversation_id != id}

    def rename(self) -> None:
        self.change(title=self.text()[:200])

    def erase_title(self) -> None:
        self.change(title=None)

    def archive(self) -> None:
        self.change(is_archived=self.chance.random() < 0.5)
        if (id := self.pick()) is not None:  # which no search asks for
            conversations.change(EVERYTHING, id, is_pinned=self.chance.random() < 0.5)

    def change(self, **changes: Any) -> None:
        if (id := self.pick()) is not None:
            conversations.change(EVERYTHING, id, **changes)
            self.talks[id] = self.talks[id]._replace(**changes)

    def switch(self) -> None:
        if (id := self.pick_message()) is not None:
            of = self.said[id].conversation_id
            transcripts.change(EVERYTHING, of, last_message_id=id)

    def fork(self) -> None:
        if (id := self.pick_message()) is not None:
            fork = transcripts.fork(EVERYTHING, self.said[id].conversation_id, id)
            origin = self.talks[self.said[id].conversation_id]
            self.talks[fork.conversation.id] = origin._replace(is_archived=False)
            for row in fork.messages:
                text = search_index.searchable_text(row.content)
                self.said[row.id] = Said(fork.conversation.id, row.role, text, row.status)

    # --- What is asked

    def query(self) -> str:
        source = self.chance.choice(self.texts).text if self.texts else ""
        parts = [self.part(source) for _ in range(self.chance.choice([1, 1, 2, 3]))]
        if self.chance.random() < 0.3:
            other = self.chance.choice(self.texts).text if self.texts else ""
            parts.insert(self.chance.randrange(len(parts) + 1), f"-{self.part(other)}")
        return " ".join(parts)[:300]

    def part(self, source: str) -> str:
        words = source.split() or ["nothing"]
        at = self.chance.randrange(len(words))
        kind = self.chance.choice(["word", "word", "phrase", "prefix", "slice", "any", "phrase*"])
        if kind == "word":
            return self.vary(words[at])
        if kind.startswith("phrase"):
            count = self.chance.randint(1, 4)
            phrase = self.vary(" ".join(words[at : at + count]).replace('"', ""))
            return f'"{phrase[:-1]}"*' if kind == "phrase*" else f'"{phrase}"'
        if kind == "prefix":
            return self.vary(words[at][: self.chance.randint(1, 4)]) + "*"
        if kind == "slice":
            start = self.chance.randrange(len(words[at]))
            return words[at][start : start + self.chance.randint(1, 4)]
        return self.vary(self.chance.choice(self.chance.choice(SCRIPTS)))

    def ask(self, query: str) -> None:
        """Compare what is found with the reference, with some filters and in some pages."""
        filters: dict[str, Any] = {
            "role": self.chance.choice([None] * 5 + [*ROLES]),
            "is_archived": self.chance.choice([None, None, None, True, False]),
        }
        project_id = self.chance.choice([None, *PROJECTS])
        user_id = self.chance.choice([None, *USERS])
        wanted = reference.search(self.texts, query, project_id, user_id, **filters)
        if self.chance.random() < 0.5:
            where, filters["project_id"] = Scope(None, user_id), project_id
        else:
            where = Scope(project_id, user_id)
        limit = max(self.chance.choice([1, 1, 2, 3, 5, 20]), len(wanted) // 5)
        context = f"{query!r} of {where} {filters} by {limit}"
        found = in_pages(where, query, sort=NEWEST, limit=limit, **filters)
        assert [hit.id for hit in found] == wanted, context
        texts = {text.id: text.text for text in self.texts}
        for hit in found[:5]:
            assert hit.text == texts[hit.id]
            check_excerpt(hit, query)
        found = in_pages(where, query, sort=RELEVANCE, limit=limit, **filters)
        assert sorted((hit.id for hit in found), reverse=True) == wanted, context

    def check_each(self) -> None:
        """Texts are found by their beginnings: the index misses none, and has no other words."""
        for text in self.chance.sample(self.texts, min(len(self.texts), 80)):
            start = " ".join(text.text.split()[:3]).replace('"', "")[:100]
            if reference.words(start):
                found = in_pages(EVERYTHING, f'"{start}"*', sort=NEWEST, limit=100)
                wanted = reference.search(self.texts, f'"{start}"*')
                assert [hit.id for hit in found] == wanted, (start, text)

    def end(self) -> None:
        """Leave nothing for the next story."""
        for id, talk in self.talks.items():
            if not talk.in_trash:
                conversations.remove(EVERYTHING, id)
            trash.purge(EVERYTHING, id)


def in_pages(scope: Scope, query: str, **rest: Any) -> list[Hit]:
    found: list[Hit] = []
    place: Place | None = Place()
    while place is not None:
        page = search.page_for(scope, query, after=place, **rest)
        assert len(page.rows) == rest["limit"] or (page.next is None and len(page.rows) < 100)
        found += page.rows
        place = page.next
    return found


def check_excerpt(hit: Hit, query: str) -> None:
    snippet, highlights = hit.excerpt
    assert len(snippet) <= 200
    assert snippet in hit.text
    assert highlights, (query, snippet)
    last_end = 0
    for start, end in highlights:
        assert last_end <= start < end <= len(snippet)
        last_end = end
        marked = snippet[start:end]
        assert reference.words(marked), (query, snippet)
        if end < len(snippet):  # else it may go on behind the snippet
            required = [part for part in reference.parts_of(query) if not part.is_excluded]
            assert any(reference.has(marked, part) for part in required), (query, snippet, marked)


@pytest.fixture(params=["small", "usual"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is done in portions, in portions so small that they end everywhere."""
    if request.param == "usual":
        return
    for name, size in {
        "BATCH_MESSAGES": 3,
        "BATCH_CONVERSATIONS": 2,
        "BATCH_CODE_POINTS": 300,
    }.items():
        monkeypatch.setattr(search_index, name, size)
    for name, size in {
        "CANDIDATES": 2,
        "MAX_CANDIDATES": 7,
        "WINDOW": 6,
        "FEW": 2,
    }.items():
        monkeypatch.setattr(search, name, size)


@pytest.fixture(autouse=True)
def no_chores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index follows when the test says so."""
    monkeypatch.setattr("db.engine.database.after_write", [])


@pytest.fixture(autouse=True)
def forget_queries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A prepared query keeps the size of its batch. One of a test with another must not be used."""
    yield
    monkeypatch.undo()
    search_index._new_messages._for = None


@pytest.mark.parametrize("follows", FOLLOWS)
def test_search_finds_what_the_reference_finds(
    either_store: Store, follows: str, sizes: None, request: pytest.FixtureRequest
):
    share = QUERIES[either_store.engine] // (2 * len(FOLLOWS) * STORIES)
    for number in range(STORIES):
        story = Story(f"{request.node.name} {number}", follows)
        asked = 0
        for step in range(1, STEPS + 1):
            story.happen()
            while asked < share * step // STEPS:
                story.ask(story.query())
                asked += 1
        while search_index.follow():
            pass
        assert search_index.count_behind() == 0
        story.check_each()
        story.end()


def test_no_text_is_an_error(either_store: Store):
    story = Story("hard", "never")
    for number in range(120):
        story.start()
        pieces = story.chance.choices(HARD, k=story.chance.randint(1, 12))
        pieces[0] *= story.chance.choice([1, 1, 1, 2, 150])
        text = story.chance.choice(["", " "]).join(pieces)
        story.change(title=text.replace("\0", ""))
        if number == 60:
            while search_index.follow():
                pass
    story.texts = story.live()
    long = st.builds(str.__mul__, st.sampled_from(HARD), st.integers(1, 300))
    anything = st.text(st.characters(blacklist_categories=("Cs",), max_codepoint=0x16FDF))
    piece = st.one_of(st.sampled_from(HARD), st.sampled_from(HARD), long, anything)

    @hypothesis.settings(
        max_examples=FUZZED[either_store.engine],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(pieces=st.lists(piece, min_size=1, max_size=8), glue=st.sampled_from(GLUES))
    def ask(pieces: list[str], glue: str) -> None:
        query = glue.join(pieces)[:300]
        found = in_pages(EVERYTHING, query, sort=NEWEST, limit=100)
        assert [hit.id for hit in found] == reference.search(story.texts, query)
        for hit in found:
            check_excerpt(hit, query)
        search.page_for(EVERYTHING, query)

    ask()
