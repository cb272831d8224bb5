"""ETag, If-Match and If-None-Match (RFC 9110, 13.1) over the version of a conversation."""

from collections.abc import Callable

from pydantic import Field

from .endpoint import Headers


def etag(version: int) -> str:
    """A conversation's ETag. Its number is also where its event feed stands: a reader who has the
    conversation goes on from `Last-Event-ID: 17` if the ETag was `"17"`."""
    return f'"{version}"'


class IfMatch(Headers):
    if_match: str | None = Field(
        None, alias="If-Match", description="Change it only if this is its ETag."
    )

    def allows(self) -> Callable[[int], bool] | None:
        """The check of a version that is to be made in the transaction of the change."""
        given = self.if_match
        return None if given is None else lambda version: _names(given, version)


class IfNoneMatch(Headers):
    if_none_match: str | None = Field(
        None, alias="If-None-Match", description="Answer 304 if this is still its ETag."
    )

    def is_current(self, version: int) -> bool:
        return self.if_none_match is not None and _names(self.if_none_match, version)


def _names(header: str, version: int) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag(version) in tags
