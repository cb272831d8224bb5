"""Idempotency-Key: the same POST twice is answered twice and done once."""

import hashlib
import json
from collections.abc import Callable
from typing import NamedTuple

from chalice.app import Request, Response

from db.database import transaction
from db.idempotency_key import Answer, IdempotencyKey

from .caller import Caller
from .problems import INVALID, Problem

MAX_KEY = 255
REPLAYED = {"Idempotent-Replayed": "true"}


class Once(NamedTuple):
    """One request that is to have its effect once, or, without a key, as often as it comes."""

    caller: str = ""
    key: str | None = None
    fingerprint: str = ""

    @classmethod
    def of(cls, request: Request, caller: Caller, key: str) -> "Once":
        """Raises Problem 422 for a key that cannot be one."""
        if not 0 < len(key) <= MAX_KEY:
            raise Problem(INVALID, f"Idempotency-Key must have 1 to {MAX_KEY} characters.")
        parts = (request.method, request.path, request.uri_params, _query(request))
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        digest.update(request.raw_body)
        return cls(json.dumps([caller.key_id, caller.scope.user_id]), key, digest.hexdigest())

    def run(self, work: Callable[[], Answer]) -> tuple[Answer, bool]:
        """The answer, and whether it is an earlier one's. An exception leaves nothing behind."""
        return self._run(self.key, work) if self.key is not None else (work(), False)

    @transaction
    def _run(self, key: str, work: Callable[[], Answer]) -> tuple[Answer, bool]:
        first = IdempotencyKey.claim(self.caller, key, self.fingerprint)
        if first is not None:
            return first, True
        answer = work()
        IdempotencyKey.settle(self.caller, key, answer)
        return answer, False

    def response(self, work: Callable[[], Response]) -> Response:
        """The response of `work`, or the first one again."""

        def answer() -> Answer:
            response = work()
            return Answer(response.status_code, json.dumps(response.headers), response.body)

        (status, headers, body), replayed = self.run(answer)
        return Response(body, {**json.loads(headers), **(REPLAYED if replayed else {})}, status)


def _query(request: Request) -> dict[str, list[str]]:
    params = request.query_params
    return {name: params.getlist(name) for name in params} if params else {}
