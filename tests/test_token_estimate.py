"""Tests the estimate of tokens against what real tokenizers count in the same texts."""

import json

import pytest

from db.token_estimate import IMAGE_TOKENS, MESSAGE_TOKENS, tokens_in_message, tokens_in_text

from .support.processes import ROOT

TEXTS = ROOT / "tests" / "token_texts"
# What `python -m bench.token_counts --write` has counted.
COUNTS: dict[str, dict[str, int]] = json.loads((TEXTS / "counts.json").read_text())
MOST = {"english": 1.3, "arabic": 1.6, "hindi": 1.8}  # times the larger count
OTHERS_MOST = 1.5


def test_every_text_has_been_counted():
    assert sorted(COUNTS) == sorted(path.stem for path in TEXTS.glob("*.txt"))


@pytest.mark.parametrize("name", COUNTS)
def test_an_estimate_is_not_below_the_count_and_not_far_above(name: str):
    estimate = tokens_in_text((TEXTS / f"{name}.txt").read_text())
    known = max(COUNTS[name].values())
    assert known * 0.95 <= estimate <= known * MOST.get(name, OTHERS_MOST)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), (" ", 0), ("Hi", 2), ("hello world", 2), ("12345678", 4), ("\n\n\n", 1), ("👋", 3)],
)
def test_small_texts(text: str, tokens: int):
    assert tokens_in_text(text) == tokens


@pytest.mark.parametrize("character", ["a", " ", "\0", "\n", "ü", "\u2028", "\ud800", "\U0010ffff"])
def test_a_long_text_of_any_character_is_estimated(character: str):
    assert 0 < tokens_in_text(character * 10_000) <= 40_000


def test_a_message_costs_more_than_its_text():
    text = "What is in this picture?"
    message = {"role": "user", "content": text}
    assert tokens_in_message(message) == tokens_in_text(text) + MESSAGE_TOKENS
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9999}}
    message["content"] = [{"type": "text", "text": text}, picture]
    assert tokens_in_message(message) == tokens_in_text(text) + MESSAGE_TOKENS + IMAGE_TOKENS


def test_tool_calls_and_files_count_as_json():
    called = {"name": "weather", "arguments": '{"city":"Paris"}'}
    call = {"id": "1", "type": "function", "function": called}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert tokens_in_message(message) > tokens_in_text(called["arguments"]) + MESSAGE_TOKENS
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 1000, "format": "mp3"}}
    assert tokens_in_message({"role": "user", "content": [audio]}) > 500
