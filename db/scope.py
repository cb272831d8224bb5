"""The tenant boundary: whose conversations a verb may see. It is checked in one place."""

from typing import NamedTuple, Protocol

# The project of what is made where none is named.
NO_PROJECT = "00000000-0000-0000-0000-000000000000"


class Owned(Protocol):
    @property
    def project_id(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...


class Scope(NamedTuple):
    """A project and an end user. `None` stands for all of them."""

    project_id: str | None = None
    user_id: str | None = None

    def covers(self, row: Owned) -> bool:
        return (self.project_id is None or row.project_id == self.project_id) and (
            self.user_id is None or row.user_id == self.user_id
        )


EVERYTHING = Scope()
