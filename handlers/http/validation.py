"""What is wrong with a request, in the words of its sender: JSON's, not Python's."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from .problems import INVALID, Problem

# Nobody reads more, and the answer to 6 MB of wrong values would be 270 MB.
MAX_ERRORS = 100
# What Pydantic calls a value that is not a JSON object.
NOT_AN_OBJECT = {"model_type", "dict_type"}


def invalid(error: ValidationError, value: Any, *where: str) -> Problem:
    """The 422 for a value that a type refused, with `where` before each location."""
    if (count := error.error_count()) > MAX_ERRORS:
        return Problem(INVALID, f"{'.'.join(where)}: {count:,} values are invalid.", errors=[])
    errors = [
        {
            "loc": [*where, *_place(found["loc"], value, found["type"])],
            "msg": _message(found["msg"], found["type"]),
            "type": found["type"],
        }
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    first = errors[0]
    place = ".".join(map(str, first["loc"]))
    return Problem(INVALID, f"{place}: {first['msg']}.", errors=errors)


def _message(text: str, type: str) -> str:
    if type in NOT_AN_OBJECT:
        return "Input should be an object"
    return text.removeprefix("Value error, ")


def _place(loc: tuple[int | str, ...], value: Any, type: str) -> Iterator[int | str]:
    """The keys and indexes in `loc`, without the names of types that Pydantic puts between them."""
    for part in loc:
        if _is_in(part, value):
            value = value[part]
            yield part
        elif type == "missing" and part == loc[-1]:
            yield part


def _is_in(part: int | str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list) and isinstance(part, int)
