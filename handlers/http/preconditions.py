"""ETag, If-Match and If-None-Match (RFC 9110, 13.1) over the version of a conversation."""

from db.conversations import IfMatch as VersionCheck

from .headers import IF_MATCH, IF_NONE_MATCH, Headers


def etag(version: int) -> str:
    """A conversation's ETag. Its number is also a `Last-Event-ID`.

    A reader who has the conversation with the ETag `"17"` goes on from `Last-Event-ID: 17`.
    """
    return f'"{version}"'


class IfMatch(Headers):
    if_match: str | None = IF_MATCH.field(None)

    def check(self) -> VersionCheck | None:
        """The check of a version, to be made in the transaction of the change."""
        given = self.if_match
        return None if given is None else lambda version: _lists(given, version)


class IfNoneMatch(Headers):
    if_none_match: str | None = IF_NONE_MATCH.field(None)

    def is_current(self, version: int) -> bool:
        return self.if_none_match is not None and _lists(self.if_none_match, version)


def _lists(header: str, version: int) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag(version) in tags
