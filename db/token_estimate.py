"""How many tokens a text takes, estimated without any model's vocabulary.

A tokenizer cuts a text into pieces that it has seen often. This module cuts it, too, by rules: six
lower-case letters, two capitals, two digits or three punctuation marks make one piece. In other
scripts each character weighs what it costs the older of OpenAI's vocabularies, cl100k_base, in
which these scripts are dearest. It is meant to be too high rather than too low: for a budget, a
text that takes more room than planned is an error of the model's server.

`tests/test_token_estimate.py` compares it with the larger of the counts by cl100k_base and
o200k_base. The estimate is 1.2 times that for English, 1.04 for German, 1.2 for Chinese and 1.1 to
1.35 for code and JSON. It is too low for Dutch, Indonesian and Finnish (by up to 10 %) and for
random lower-case letters. It takes 30 µs for a kilobyte of English, and 60 of Chinese.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

# Each match is one token. A single space belongs to the word behind it and costs nothing.
_PIECE = re.compile(
    r"[_.(]?[a-z]{1,6}|[A-Z]{1,2}|[0-9]{1,2}|[!-/:-@\[-`{-~]{1,3}|[\r\n]+| {2,16}|\t+"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)
# The tokens that a character of a script takes on average, and its ranges.
_SCRIPTS = [
    (tokens, re.compile(f"[{ranges}]+"))
    for tokens, ranges in (
        (1.8, "\u0080-\u024f\u1e00-\u1eff"),  # Latin with accents: they cut a word into pieces
        (1.2, "\u0370-\u03ff\u0590-\u07ff"),  # Greek, Hebrew, Arabic
        (0.65, "\u0400-\u052f"),  # Cyrillic
        (2.1, "\u0900-\u0dff\u1000-\u10ff"),  # scripts of India, Georgian
        (1.0, "\u0e00-\u0eff"),  # Thai, Lao
        (0.95, "\u3000-\u30ff\uff00-\uffef"),  # kana, wide punctuation
        (1.45, "\u3400-\u9fff"),  # Chinese characters
        (1.3, "\uac00-\ud7af"),  # Hangul
        (1.2, "\u2000-\u2fff"),  # punctuation and symbols
    )
]
_ANY_OTHER_TOKENS = 3  # an emoji; also a character of a rare script
_ASCII = re.compile(r"[\x00-\x7f]+")

MESSAGE_TOKENS = 4  # what a message takes beside its content: OpenAI counts three, and its role
# The most that GPT-4o takes for an image: 85, and 170 for each of eight tiles. The size is unknown.
IMAGE_TOKENS = 1_445


def tokens_in_text(text: str) -> int:
    """An estimate of the tokens that a text takes."""
    pieces = float(len(_PIECE.findall(text)))
    if not text.isascii():
        rest = _ASCII.sub("", text)
        unknown = len(rest)
        for tokens, script in _SCRIPTS:
            count = len("".join(script.findall(rest)))
            pieces += tokens * count
            unknown -= count
        pieces += _ANY_OTHER_TOKENS * unknown
    return round(pieces)


def tokens_in_message(message: Mapping[str, Any]) -> int:
    """An estimate of the tokens that a message takes, as it is sent to `/chat/completions`.

    Tool calls count as their JSON, images as IMAGE_TOKENS each, and other files as their JSON.
    """
    content = message["content"]
    tokens = MESSAGE_TOKENS
    if isinstance(content, str):
        tokens += tokens_in_text(content)
    else:
        tokens += sum(map(_tokens_in_part, content or ()))
    for name in ("tool_calls", "tool_call_id"):
        if name in message:
            tokens += tokens_in_text(_json(message[name]))
    return tokens


def _tokens_in_part(part: Mapping[str, Any]) -> int:
    if part["type"] == "image_url":
        return IMAGE_TOKENS
    return tokens_in_text(part["text"] if part["type"] == "text" else _json(part))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
