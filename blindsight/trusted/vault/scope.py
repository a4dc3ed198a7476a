"""The collections that the current call may name: to its caller, others do not exist."""

from __future__ import annotations

from contextvars import ContextVar

_collections: ContextVar[frozenset[bytes] | None] = ContextVar("scope", default=None)


def limit(collection_ids: frozenset[bytes] | None) -> None:
    """Limits the current call, and what it begins, to some collections; None: to none in particular."""
    _collections.set(collection_ids)


def only() -> frozenset[bytes] | None:
    """Returns the collections that the current call is limited to; None: it is not limited."""
    return _collections.get()


def contains(collection_id: bytes) -> bool:
    """Returns whether the current call may name a collection."""
    limits = _collections.get()
    return limits is None or collection_id in limits
