"""Roles: whom a certificate says that it is of, and for how long."""

from __future__ import annotations

import re
from enum import StrEnum

DAYS = 90
# A certificate is renewed while a third of its life is left.
RENEW_DAYS = 30
_ID = re.compile(r"spiffe://([a-z0-9._-]+)/([a-z]+)")


class Role(StrEnum):
    """Who may hold a certificate: services, the queue's broker, who scrapes metrics, an owner's client."""

    KEYHOLDER = "keyholder"
    WORKER = "worker"
    EVALUATOR = "evaluator"
    STORAGE = "storage"
    QUEUE = "queue"
    MONITOR = "monitor"
    OWNER = "owner"


def spiffe_id(vault: str, role: Role) -> str:
    """Returns the URI of a role in a vault, as SPIFFE writes identities: `spiffe://VAULT/ROLE`."""
    return f"spiffe://{vault}/{role.value}"


def role_of(uri: str) -> tuple[str, Role] | None:
    """Returns the vault and role of such a URI; None for any other."""
    found = _ID.fullmatch(uri)
    if found is None or found[2] not in set(Role):
        return None
    return found[1], Role(found[2])
