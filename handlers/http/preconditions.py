"""ETag, If-Match and If-None-Match (RFC 9110, 13.1) over the version of a conversation."""

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from db.conversations import IfMatch as VersionCheck

from .headers import IF_MATCH, IF_NONE_MATCH, Headers


def etag(version: int) -> str:
    """A conversation's ETag. Its number is also a `Last-Event-ID`.

    A reader who has the conversation with the ETag `"17"` goes on from `Last-Event-ID: 17`.
    """
    return f'"{version}"'


_TAG = r'(W/)?"[!#-~]*"'  # RFC 9110, 8.8.3
_TAGS = rf"^(\*|{_TAG}([ \t]*,[ \t]*{_TAG})*)$"


def _entity_tags(header: str) -> str:
    if not re.match(_TAGS, header):
        raise ValueError('must be an ETag with its quotes, such as "17", a list of ETags, or *')
    return header


# A misspelt ETag is refused as such. Answered 412, its sender would get the conversation in vain.
EntityTags = Annotated[
    str,
    AfterValidator(_entity_tags),
    WithJsonSchema({"type": "string", "pattern": _TAGS, "examples": ['"17"']}),
]


class IfMatch(Headers):
    if_match: EntityTags | None = IF_MATCH.field(None)

    def check(self) -> VersionCheck | None:
        """The check of a version, to be made in the transaction of the change."""
        given = self.if_match
        return None if given is None else lambda version: _lists(given, etag(version))


class IfNoneMatch(Headers):
    if_none_match: str | None = IF_NONE_MATCH.field(None)

    def is_current(self, version: int) -> bool:
        return self.names(etag(version))

    def names(self, tag: str) -> bool:
        return self.if_none_match is not None and _lists(self.if_none_match, tag)


def _lists(header: str, tag: str) -> bool:
    tags = [each.strip().removeprefix("W/") for each in header.split(",")]
    return "*" in tags or tag in tags
