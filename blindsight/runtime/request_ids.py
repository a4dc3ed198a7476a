"""Request ids: one name for a call in the logs of all services that work for it."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

# In the metadata of a call.
KEY = "x-request-id"
# One to 64 ASCII letters, digits and dashes: what a log takes over from strangers.
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")

# Of the call that is worked for; "" where there is none.
current: ContextVar[str] = ContextVar("request_id", default="")


def new() -> str:
    """A request id for a call that has none."""
    return uuid.uuid4().hex


def valid(given: str | bytes) -> str:
    """A caller's request id as it goes into logs; "" for one that is not short and plain."""
    return given if isinstance(given, str) and _ID.fullmatch(given) else ""
