"""Request ids: one name for a call in the logs of all services that take part in it."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

# The key in a call's metadata.
KEY = "x-request-id"
# One to 64 ASCII letters, digits and dashes: nothing else of an untrusted client may go into logs.
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")

# The request id of the current call; "" outside a call.
current: ContextVar[str] = ContextVar("request_id", default="")


def new() -> str:
    """Returns a new request id, for a call that has none."""
    return uuid.uuid4().hex


def valid(given: str | bytes) -> str:
    """Returns a caller's request id if it may go into logs, else ""."""
    return given if isinstance(given, str) and _ID.fullmatch(given) else ""
