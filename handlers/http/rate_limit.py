"""Rate limits: so many requests a minute for each key and user, in each process.

A bucket of requests fills again evenly (GCRA, the generic cell rate algorithm): who has been quiet
may send a whole minute's requests at once. It is one number for each caller: when the bucket would
be full again.
"""

import math
import threading
import time

from db.settings import settings

from .caller import Caller
from .headers import RATE_LIMIT, RATE_LIMIT_POLICY
from .problems import RATE_LIMITED, Problem

MINUTE = 60.0
MAX_CALLERS = 10_000  # until those whose bucket is full are forgotten

Who = tuple[str | None, str | None]

_full_at: dict[Who, float] = {}  # by time.monotonic
_changing = threading.Lock()


def take(caller: Caller) -> dict[str, str]:
    """Count a request, and return the headers that say how many more there may be.

    The headers are those of draft-ietf-httpapi-ratelimit-headers. Without a RATE_LIMIT there are
    none. Raises Problem 429.
    """
    limit = settings().rate_limit
    if limit is None:
        return {}
    now, cost = time.monotonic(), MINUTE / limit
    who = (caller.key_id, caller.scope.user_id)
    with _changing:
        if len(_full_at) >= MAX_CALLERS:
            for other in [other for other, full_at in _full_at.items() if full_at <= now]:
                del _full_at[other]
        full_at = max(now, _full_at.get(who, now)) + cost
        is_over = full_at > now + MINUTE + 1e-6
        if not is_over:
            _full_at[who] = full_at
    policy = {RATE_LIMIT_POLICY: f'"default";q={limit};w={MINUTE:.0f}'}
    if is_over:
        wait = max(1, math.ceil(full_at - now - MINUTE))
        raise Problem(
            RATE_LIMITED,
            f"Send at most {limit} requests a minute: wait {wait} s.",
            {**policy, RATE_LIMIT: f'"default";r=0;t={wait}', "Retry-After": str(wait)},
        )
    left = int((MINUTE - (full_at - now)) / cost + 1e-6)
    return {**policy, RATE_LIMIT: f'"default";r={left};t={math.ceil(full_at - now)}'}
