"""Roles: whom a certificate says that it is of."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What may hold a certificate: the services, and an owner's client."""

    KEYHOLDER = "keyholder"
    WORKER = "worker"
    EVALUATOR = "evaluator"
    STORAGE = "storage"
    OWNER = "owner"


def spiffe_id(vault: str, role: Role) -> str:
    """Returns the URI of a role in a vault, as SPIFFE writes identities: `spiffe://VAULT/ROLE`."""
    return f"spiffe://{vault}/{role.value}"
