"""Tests what an import is given: folders, zips and shards, and a stranger's files."""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from db.__main__ import cli
from db.engine.connect import Store
from db.engine.database import database
from db.lists import newest
from db.scope import EVERYTHING
from db.transfer import importing, sources, storing
from db.transfer.json_values import Reader
from db.transfer.parsed import Unreadable

from .support.exports import bring_in, chatgpt, line, rows_of, said, tree_of, write
from .support.world import PROJECT, dump


def zipped(path: Path, members: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members.items():
            archive.writestr(name, value if isinstance(value, bytes) else json.dumps(value))
    return path


def manifest(*files: str) -> dict[str, Any]:
    return {
        "version": 1,
        "logical_files": {"conversations.json": {"files": files, "sharded": True}},
    }


def test_a_zip_of_shards_is_read_with_its_manifest_and_without_its_side_files(tmp_path: Path):
    shards = {
        f"conversations-00{n}.json": [line("Hi", id=f"c{n}", title=f"T{n}")] for n in range(3)
    }
    names = [*shards, "conversations-003.json"]
    side = {
        "user.json": {"id": "u", "email": "a@b.c"},
        "message_feedback.json": [],
        "shared_conversations.json": [{"id": "s", "conversation_id": "c1", "title": "T1"}],
        "chat.html": b"<html>",
        "file-1.dat": b"\x89PNG",
        "picture": b"\x89PNG\xff",
        "__MACOSX/._conversations.json": b"x",
    }
    members = {"export_manifest.json": manifest(*names), **side, **shards}
    for whole in (False, True):
        if whole:
            members["conversations-003.json"] = [line("Hi", id="c3", title="T3")]
        report = bring_in(zipped(tmp_path / "export.zip", members))
        assert (report.created, report.exit_status) == ((1, 0) if whole else (3, 1))
        assert report.shards_missing == ([] if whole else ["conversations-003.json"])
        ignored = {name.rpartition("/")[2] for name in report.side_files_ignored}
        assert ignored == {*side, "export_manifest.json"} - {"__MACOSX/._conversations.json"}


def test_a_folder_may_have_files_of_several_products_and_zips(tmp_path: Path):
    (folder := tmp_path / "folder" / "deeper").mkdir(parents=True)
    write(folder / "1.json", [line("Hi")])
    write(
        folder / "2.json",
        {
            "conversationId": "l",
            "title": "L",
            "messages": [{"messageId": "1", "isCreatedByUser": True, "text": "x"}],
        },
    )
    zipped(folder / "3.zip", {"conversations.json": [line("z", id="z", title="Z")]})
    (folder / "notes.txt").write_text("Notes")
    write(folder / "settings.json", {"theme": "dark"})
    report = bring_in(tmp_path / "folder")
    assert (report.created, report.exit_status) == (3, 0)
    assert sorted(Path(name).name for name in report.side_files_ignored) == [
        "notes.txt",
        "settings.json",
    ]
    assert tree_of("Z")[0] == ("user", "z", None)


HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"
WHOLE = json.dumps([line("Hi", "Hello")]).encode()
STRANGERS = {
    "truncated.json": (WHOLE[:-40], "it was cut off"),
    "truncated.jsonl": (b'{"messages": [{"role": "user"', "it was cut off"),
    "utf16.json": ("[]".encode("utf-16"), "it is not UTF-8"),
    "latin1.json": (WHOLE.replace(b"Hi", b"Gr\xfc\xdfe"), "it is not UTF-8"),
    "page.json": (HTML, "it is not JSON: it begins with '<'"),
    "empty.json": (b"", "it is empty"),
    "spaces.json": (b" \n", "it is empty"),
    "broken.json": (WHOLE.replace(b'"title"', b"title", 1), "it is no JSON, at character 3"),
    "other.json": (b'{"some": "object"}', "nothing in it is known as an export"),
    "deep.json": (b"[" * 30_000 + b"]" * 30_000, "nested too deep"),
    "brackets.json": (b"[" * 1_200 + b"]" * 1_200, "nothing in it is known as an export"),
    "number.json": (b"[" + b"9" * 5000 + b"]", "a number is too long"),
}


def run(*arguments: object) -> Result:
    bound = database.obj
    try:
        return CliRunner().invoke(cli, [str(each) for each in arguments])
    finally:
        database.initialize(bound)


def assert_refused(reason: str, *paths: Path) -> None:
    before = dump()
    result = run("import", *paths)
    assert result.exit_code == 2
    told = result.stdout + result.stderr
    assert reason in told
    assert "Traceback" not in told
    assert dump() == before


@pytest.mark.parametrize("name", STRANGERS)
def test_a_strangers_file_is_refused_in_a_sentence(tmp_path: Path, name: str):
    content, reason = STRANGERS[name]
    (file := tmp_path / name).write_bytes(content)
    assert_refused(reason, file)


@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/evil.json", "a/../../b.json", "C:\\evil.json"]
)
def test_a_zip_with_paths_outside_of_it_is_refused(tmp_path: Path, name: str):
    archive = zipped(
        tmp_path / "export.zip", {"conversations.json": [line("Hi")], name: [line("x")]}
    )
    assert_refused("lies outside of the zip", archive)


def test_a_zip_bomb_is_refused_before_it_is_read(tmp_path: Path):
    bomb = b"[" + b" " * (sources.BOMB_BYTES + 1) + b"]"
    assert_refused(
        "this is a zip bomb", zipped(tmp_path / "export.zip", {"conversations.json": bomb})
    )


def test_a_damaged_zip_is_refused(tmp_path: Path):
    archive = zipped(tmp_path / "export.zip", {"conversations.json": [line("Hi")] * 50})
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    assert_refused("was cut off or damaged", archive)
    archive.write_bytes(content[:60] + b"\0" * 40 + content[100:])
    assert_refused("conversations.json", archive)


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path):
    write(tmp_path / "good.json", [line("Hi")])
    assert_refused("does not exist", tmp_path / "good.json", tmp_path / "missing.json")
    (tmp_path / "empty").mkdir()
    assert_refused("there are no conversations", tmp_path / "empty")


def test_a_good_file_beside_a_bad_one_is_in_and_the_status_is_1(tmp_path: Path):
    (bad := tmp_path / "bad.json").write_bytes(HTML)
    result = run("import", bad, write(tmp_path / "good.json", [line("Hi")]))
    assert result.exit_code == 1
    assert "1 created." in result.stdout
    assert "bad.json: it is not JSON" in result.stdout


def test_what_stands_before_a_damage_in_the_middle_is_in(tmp_path: Path):
    texts = [json.dumps(line("Hi", id=f"c{n}", title=f"T{n}")) for n in range(3)]
    (file := tmp_path / "export.json").write_text(f"[{texts[0]}, {texts[1]} {texts[2]}]")
    report = bring_in(file)
    assert (report.created, report.exit_status) == (2, 1)
    assert "',' is missing" in report.failed[0]["why"]


# Reading


class Trickle(io.BytesIO):
    """A file that gives a few bytes at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(3)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('[1, "é😀", {"a": [null]}, [], 1.5e3]', [1, "é😀", {"a": [None]}, [], 1500.0]),
        ("[]", []),
        ('\ufeff [ {"a":1} ,\n{"b":2}]\n', [{"a": 1}, {"b": 2}]),
        ('{"a": 1}\n\n{"b": [2]}\r\n', [{"a": 1}, {"b": [2]}]),
        ('{"v": 1, "conversations": [{"c": 1}, {"c": 2}], "end": {}}', [{"c": 1}, {"c": 2}]),
        (
            '{"conversations": [{"from": "a"}], "id": "x"}',
            [{"conversations": [{"from": "a"}], "id": "x"}],
        ),
        ('{"conversations": []}', [{"conversations": []}]),
        ("{}", [{}]),
    ],
)
def test_values_are_read_wherever_the_buffer_ends(text: str, values: list[Any]):
    for kind in (io.BytesIO, Trickle):
        found = list(Reader(kind(text.encode()), Counter()).values())
        assert [each.value for each in found] == values
        for each in found:
            assert json.loads(each.text) == each.value


@pytest.mark.parametrize(
    "text", ["[1", "[1 2]", '["a', "[tru]", '{"a" 1}', '{"a": 1', "nul", '[{"a": }]']
)
def test_what_is_no_json_is_unreadable_wherever_the_buffer_ends(text: str):
    for kind in (io.BytesIO, Trickle):
        with pytest.raises(Unreadable):
            list(Reader(kind(text.encode()), Counter()).values())


def test_progress_tells_the_bytes_and_the_conversations(tmp_path: Path):
    file = write(tmp_path / "export.json", [line("Hi", id=str(n)) for n in range(5)])
    told: list[tuple[int, int, int]] = []
    importing.import_paths([file], importing.Wanted(), lambda *done: told.append(done))
    size = file.stat().st_size
    assert told[0][:2] == (size, size)
    assert told[-1] == (size, size, 5)


OURS = {
    "type": "conversation", "id": "c", "project_id": PROJECT, "user_id": None, "title": "T",
    "created_at": "2023-11-14T22:13:20.000Z", "updated_at": "2023-11-14T22:13:20.000Z",
}  # fmt: skip
OURS_TOO = {"type": "message", "id": "m", "role": "user", "content": "Hi", "status": "completed"}


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


BAD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"title": {}}, {}),
    ({"key": "k" * 256}, {}),
    ({"key": 5}, {}),
    ({"tags": [5]}, {}),
    ({"tags": "t"}, {}),
    ({"tags": ["t" * 65]}, {}),
    ({"metadata": [1]}, {}),
    ({"user_id": {}}, {}),
    ({"user_id": "u" * 256}, {}),
    ({"metadata": {"x": nested(300)}}, {}),
    ({}, {"client_id": {}}),
    ({}, {"client_id": "x" * 65}),
    ({}, {"metadata": "x"}),
    ({}, {"metadata": {"x": nested(300)}}),
    ({}, {"content": {}}),
    ({}, {"content": [{"type": "x", "x": nested(300)}]}),
]


def test_lines_that_the_api_would_not_take_fail_alone(either_store: Store, tmp_path: Path):
    bad = [
        line
        for number, (head, message) in enumerate(BAD)
        for line in ({**OURS, **head, "id": f"bad{number}"}, {**OURS_TOO, **message})
    ]
    good = [{**OURS, "id": "good", "title": "Good"}, OURS_TOO]
    report = bring_in(write(tmp_path / "in.jsonl", (*bad, *good)))
    assert {each["id"] for each in report.failed} == {f"bad{n}" for n in range(len(BAD))}
    assert report.created == 1
    assert tree_of("Good") == [("user", "Hi", None), ("leaf", "Hi")]


def test_what_the_driver_refuses_fails_alone(
    either_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    title_of = storing._title_and_metadata

    def unbound(arrival: Any) -> Any:
        return ({} if arrival.id == "c" else "Good"), title_of(arrival)[1]

    monkeypatch.setattr(storing, "_title_and_metadata", unbound)
    report = bring_in(write(tmp_path / "in", [line("Hi"), line("Hi", id="d")]))
    assert (report.created, [each["id"] for each in report.failed]) == (1, ["c"])


def test_values_that_are_nested_are_shown_as_deep_as_they_are_taken(tmp_path: Path, api: Any):
    for depth in (240, 250):
        lines = (
            {**OURS, "id": f"c{depth}", "metadata": {"x": nested(depth)}},
            {**OURS_TOO, "metadata": {"x": nested(depth)}},
        )
        report = bring_in(write(tmp_path / "in.jsonl", lines))
        assert report.created == (depth == 240)
    assert api.get("/api/v1/conversations", project_id=PROJECT).status == 200
    (row,) = newest(EVERYTHING).rows
    assert api.get(f"/api/v1/conversations/{row.id}").status == 200


def test_chats_of_two_users_are_refused_but_for_the_first_ones_each_time(tmp_path: Path):
    chats = [
        {
            "id": name,
            "user_id": name,
            "title": name,
            "chat": {"history": {"messages": {"m": {"role": "user", "content": "Hi"}}}},
        }
        for name in ("alice", "bob")
    ]
    file = write(tmp_path / "1.json", chats)
    for told in ("created", "unchanged", "unchanged"):
        report = bring_in(file, user_id="alice")
        assert getattr(report, told) == 1
        assert [each["id"] for each in report.failed] == ["bob"]
    # Each file may be of another one.
    other = write(tmp_path / "2.json", chats[1:])
    assert bring_in(file, other, is_dry=True).created == 2


def test_what_is_no_object_fails_and_null_does_not(tmp_path: Path):
    report = bring_in(write(tmp_path / "in", [line("Hi"), None, 5]))
    assert (report.found, report.created) == (3, 1)
    assert [each["why"] for each in report.failed] == ["it is no object"]
    # If all have failed, nothing more is to be said.
    report = bring_in(write(tmp_path / "in", [{"conversation_id": "c", "mapping": 5}]))
    assert [each["why"] for each in report.failed] == ["it has no mapping"]
    with pytest.raises(Unreadable, match="nothing in it"):
        bring_in(write(tmp_path / "in", {"conversations": [5]}))


def test_half_a_surrogate_pair_behind_a_backslash_is_replaced(tmp_path: Path):
    text = json.dumps([line("A", id="I")]).replace('"A"', r'"\\ud83d\ude00"')
    (tmp_path / "in").write_text(text.replace('"I"', r'"\\ud83d\ude00"'))
    assert bring_in(tmp_path / "in").created == 1
    assert tree_of("Planning")[0][1] == "\\ud83d\ufffd"


def test_all_gives_the_same_id_to_what_has_none(tmp_path: Path):
    hidden = said("Secret", "system", metadata={"is_visually_hidden_from_conversation": True})
    nodes = {"1": (None, said("Hi")), "2": ("1", hidden)}
    value = {key: it for key, it in chatgpt(nodes).items() if key != "conversation_id"}
    file = write(tmp_path / "in", [value])
    assert bring_in(file).created == 1
    assert bring_in(file, keeps_hidden=True).extended == 1
    assert bring_in(file, keeps_hidden=True).unchanged == 1


def test_a_dry_run_of_a_file_that_is_named_twice_says_that_it_is_unchanged(tmp_path: Path):
    file = write(tmp_path / "in", [line("Hi")])
    report = bring_in(file, file, is_dry=True)
    assert (report.created, report.unchanged, report.failed) == (1, 1, [])


def test_a_folder_in_a_zip_and_a_folder_below_have_their_shards(tmp_path: Path):
    long = f"{'x' * 300}.json"
    members = {"a/conversations-000.json": [line("Hi")]}
    shards = manifest("conversations-000.json", "conversations-001.json", long)
    members["a/export_manifest.json"] = shards
    report = bring_in(zipped(tmp_path / "e.zip", members))
    assert report.shards_missing == ["conversations-001.json", long]
    folder = tmp_path / "f"
    for name, value in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, value)
    report = bring_in(folder)
    assert report.shards_missing == ["conversations-001.json", long]
    assert report.unchanged == 1


def test_what_cannot_be_read_in_a_folder_fails_and_the_rest_is_in(tmp_path: Path):
    zipped(tmp_path / "a.zip", {"Re: hello.json": [line("Hi", id="c1", title="T1")]})
    zipped(tmp_path / "bomb.zip", {"b.json": [line("Hi", id="b")], "../x.json": []})
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "good.json", [line("Hi", id="c2", title="T2")])
    (tmp_path / "half.json").write_text("[" + json.dumps(line("Hi")))
    report = bring_in(tmp_path)
    assert (report.created, report.exit_status) == (2, 1)
    failed = {Path(each["id"]).name: each["why"] for each in report.failed}
    assert failed.keys() == {"bomb.zip", "cut.zip", "half.json"}
    assert failed["cut.zip"] == "it is a zip that was cut off or damaged"


def test_the_report_is_opened_first_and_written_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = write(tmp_path / "in", [line("Hi"), line("Hi", id="d", title=" ")])
    result = run("import", file, "--report", tmp_path / "nowhere" / "r.json")
    assert (result.exit_code, "No such file" in result.stderr) == (2, True)
    assert newest(EVERYTHING).rows == []
    real = importing._Run.read

    def interrupted(self: Any, *which: Any) -> None:
        real(self, *which)
        raise KeyboardInterrupt

    monkeypatch.setattr(importing._Run, "read", interrupted)
    result = run("import", file, "--report", tmp_path / "r.json")
    assert result.exit_code == 1
    told = json.loads((tmp_path / "r.json").read_text())
    assert (told["created"], told["titles_cut_or_blank"]) == (2, 1)
    assert "2 created." in result.stdout


def test_a_dry_run_makes_no_database(tmp_path: Path, configure: Callable[..., None]):
    configure(database_url=f"sqlite:///{tmp_path}/none.db")
    file = write(tmp_path / "in", [line("Hi")])
    result = run("import", file, "--dry-run")
    assert (result.exit_code, "1 created." in result.stdout) == (0, True)
    assert [each.name for each in tmp_path.iterdir() if "none" in each.name] == []


def test_ids_and_times_of_the_future_are_not_kept(tmp_path: Path):
    id = "0fffffff-0000-7000-8000-00000000000"
    head = {**OURS, "id": f"{id}1", "created_at": "2999-01-01T00:00:00.000Z"}
    lines = (head, {**OURS_TOO, "id": f"{id}2", "created_at": head["created_at"]})
    for told in ("created", "unchanged"):
        assert getattr(bring_in(write(tmp_path / "in", lines)), told) == 1
    (row,) = newest(EVERYTHING).rows
    (message,) = rows_of(row.id)
    assert max(row.id, message.id) < "0f"
    assert max(row.created_at, message.created_at) < "2999"
    # It is the same when it is compared.
    write(tmp_path / "in", (*lines, {**OURS_TOO, "id": f"{id}3", "content": "More"}))
    report = bring_in(tmp_path / "in")
    assert (report.extended, report.messages) == (1, 1)
