"""The collections that the current call may name: to its caller, others do not exist."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

_collections: ContextVar[frozenset[bytes] | None] = ContextVar("scope", default=None)
_watcher: ContextVar[Callable[[bytes], None] | None] = ContextVar("watcher", default=None)


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


def watch(watcher: Callable[[bytes], None]) -> None:
    """Has the ids of those collections told that the current call, and what it begins, names."""
    _watcher.set(watcher)


def named(collection_id: bytes) -> None:
    """Tells whoever watches the current call that it names a collection."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(collection_id)
