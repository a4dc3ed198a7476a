"""Who may call which rpc of the untrusted services.

Nothing enforces it yet: there are no identities before there is TLS.  Until then the networks of a deployment
decide who reaches a service at all.  Tests compare this table with the contracts, with docs/threat-model.md,
and with what each service was seen to call.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Caller(Enum):
    """A service that calls others."""

    KEYHOLDER = "keyholder"
    WORKER = "worker"
    EVALUATOR = "evaluator"


_OWNER = frozenset({Caller.KEYHOLDER})
_WRITERS = _OWNER | {Caller.WORKER}
_READERS = _OWNER | {Caller.EVALUATOR}
_ALL = _WRITERS | _READERS

# By service and rpc.
CALLERS: Mapping[str, Mapping[str, frozenset[Caller]]] = {
    "storage": {
        "CreateCollection": _OWNER,
        "GetCollection": _ALL,
        "ListCollections": _ALL,
        "ReplaceConfig": _OWNER,
        "DeleteCollection": _OWNER,
        "TakeTurn": _WRITERS,
        "TakeLease": _OWNER,
        "RenewLease": _OWNER,
        "ReleaseLease": _OWNER,
        "Append": _WRITERS,
        "ReadBatches": _READERS,
        "ReadSlots": _WRITERS,
        "GetItems": _WRITERS,
        "ReadOriginal": _OWNER,
        "ReadAttachments": _OWNER,
        "ReadPlanes": _READERS,
        "DeleteItems": _OWNER,
        "UpdateItems": _OWNER,
        "TruncateCollection": _OWNER,
        "GetStatus": _OWNER,
    },
    "evaluator": {
        "Score": _OWNER,
        "CompareAll": _OWNER,
        "Combine": _OWNER,
        "Transform": _OWNER,
        "Difference": _OWNER,
        "ScaleSpace": _OWNER,
        "Prepare": _OWNER,
        "DropCollection": _OWNER,
        "GetStatus": _OWNER,
    },
}

# What takes away something that was stored, or puts something else in its place.  An append does that only if
# it retires segments, as repacks do, or replaces items: both are the keyholder's.
DESTRUCTIVE: Mapping[str, frozenset[str]] = {
    "storage": frozenset(
        {"ReplaceConfig", "DeleteCollection", "DeleteItems", "TruncateCollection", "UpdateItems"}
    ),
    "evaluator": frozenset({"DropCollection"}),
}
CHANGES_ITEMS = _OWNER
