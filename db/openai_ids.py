"""Ids as OpenAI has them: what each is the id of, and the hexadecimal digits of ours."""

CONVERSATION, RESPONSE = "conv", "resp"
# By the type of an item.
PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
    "web_search_call": "ws",
    "file_search_call": "fs",
}
OTHER = "item"


def shown_id(prefix: str, id: str) -> str:
    """Our id, a UUID, as `<prefix>_<digits>`."""
    return f"{prefix}_{id.replace('-', '')}"


def item_id(type: str, id: str) -> str:
    """The id of an item of that type."""
    return shown_id(PREFIXES.get(type, OTHER), id)
