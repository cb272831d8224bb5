"""Token counts: what two real tokenizers count in the texts of `tests/token_texts`.

    pip install tiktoken litellm
    python -m bench.token_counts           # compare the estimate with the counts that are stored
    python -m bench.token_counts --write   # count anew, and store the counts

tiktoken fetches the vocabularies when they are used first. litellm brings both as files, so that
nothing is fetched where it is installed.
"""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

from db.token_estimate import tokens_in_text

TEXTS = Path(__file__).parents[1] / "tests" / "token_texts"
COUNTS = TEXTS / "counts.json"
VOCABULARIES = ("cl100k_base", "o200k_base")


def texts() -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(TEXTS.glob("*.txt"))}


def count() -> dict[str, dict[str, int]]:
    """The tokens of each text, by vocabulary."""
    if found := importlib.util.find_spec("litellm"):
        bundled = Path(str(found.origin)).parent / "litellm_core_utils" / "tokenizers"
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(bundled))
    import tiktoken

    encodings = {name: tiktoken.get_encoding(name) for name in VOCABULARIES}
    return {
        text: {name: len(it.encode_ordinary(content)) for name, it in encodings.items()}
        for text, content in texts().items()
    }


def microseconds_per_thousand(content: str, repetitions: int = 200) -> float:
    """How long the estimate of 1,000 characters takes."""
    start = time.perf_counter()
    for _ in range(repetitions):
        tokens_in_text(content)
    return (time.perf_counter() - start) / repetitions / len(content) * 1e9


def main() -> None:
    if "--write" in sys.argv:
        COUNTS.write_text(json.dumps(count(), indent=1) + "\n")
    counts = json.loads(COUNTS.read_text())
    print(f"{'text':20} {'cl100k':>7} {'o200k':>7} {'estimate':>8} {'ratio':>6} {'µs/1,000':>9}")
    for name, content in texts().items():
        estimate, known = tokens_in_text(content), counts[name]
        ratio = estimate / max(known.values())
        taken = microseconds_per_thousand(content)
        numbers = " ".join(f"{known[it]:7}" for it in VOCABULARIES)
        print(f"{name:20} {numbers} {estimate:8} {ratio:6.2f} {taken:9.0f}")


if __name__ == "__main__":
    main()
