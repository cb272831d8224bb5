"""Idempotency-Key: the same POST twice is answered twice and done once."""

import hashlib
import json
from collections.abc import Callable, Mapping

from chalice.app import Request, Response

from db import idempotency_keys
from db.idempotency_keys import Claim, Outcome

from .caller import Caller
from .headers import REPLAYED
from .problems import TextResponse


def claim_of(request: Request, caller: Caller, key: str) -> Claim:
    """The same for two requests that are the same."""
    parts = (request.method, request.path, request.uri_params, _query(request))
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    digest.update(request.raw_body)
    who = json.dumps([caller.key_id, caller.scope.user_id, caller.scope.project_id])
    return Claim(caller=who, key=key, fingerprint=digest.hexdigest())


def respond_once(claim: Claim, path: Mapping[str, str], work: Callable[[], Response]) -> Response:
    """The response of `work`, or the first one again.

    What the path names is kept, too: an erasure has to find the response, whatever that names.
    """

    def outcome() -> Outcome:
        response = work()
        return Outcome(
            status=response.status_code,
            headers=json.dumps(response.headers),
            body=response.body,
            reference=json.dumps(dict(path)),
        )

    stored, is_replayed = idempotency_keys.once(claim, outcome)
    headers = json.loads(stored.headers or "{}") | (REPLAYED if is_replayed else {})
    return TextResponse(body=stored.body, headers=headers, status_code=stored.status)


def _query(request: Request) -> dict[str, list[str]]:
    params = request.query_params
    return {name: params.getlist(name) for name in params} if params else {}
