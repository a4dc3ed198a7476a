"""Who may call which rpc, by the role in the caller's certificate.

Tests compare this table with the contracts, with docs/threat-model.md, and with what each service was seen to
call.
"""

from __future__ import annotations

from collections.abc import Mapping

from blindsight.runtime.roles import Role

_KEYHOLDER = frozenset({Role.KEYHOLDER})
_WRITERS = _KEYHOLDER | {Role.WORKER}
_READERS = _KEYHOLDER | {Role.EVALUATOR}
_ALL = _WRITERS | _READERS
_OWNER = frozenset({Role.OWNER})
_WORKER = frozenset({Role.WORKER})

# By service and rpc.
CALLERS: Mapping[str, Mapping[str, frozenset[Role]]] = {
    "storage": {
        "CreateCollection": _KEYHOLDER,
        "GetCollection": _ALL,
        "ListCollections": _ALL,
        "ReplaceConfig": _KEYHOLDER,
        "DeleteCollection": _KEYHOLDER,
        "TakeTurn": _WRITERS,
        "TakeLease": _KEYHOLDER,
        "RenewLease": _KEYHOLDER,
        "ReleaseLease": _KEYHOLDER,
        "Append": _WRITERS,
        "ReadBatches": _READERS,
        "ReadSlots": _WRITERS,
        "GetItems": _WRITERS,
        "ReadOriginal": _KEYHOLDER,
        "ReadAttachments": _KEYHOLDER,
        "ReadPlanes": _READERS,
        "DeleteItems": _KEYHOLDER,
        "UpdateItems": _KEYHOLDER,
        "TruncateCollection": _KEYHOLDER,
        "GetStatus": _KEYHOLDER,
    },
    "evaluator": {
        "Score": _KEYHOLDER,
        "CompareAll": _KEYHOLDER,
        "Combine": _KEYHOLDER,
        "Transform": _KEYHOLDER,
        "Difference": _KEYHOLDER,
        "ScaleSpace": _KEYHOLDER,
        "Prepare": _KEYHOLDER,
        "DropCollection": _KEYHOLDER,
        "GetStatus": _KEYHOLDER,
    },
}

# By the keyholder's services of the contract.
OF_KEYHOLDER: Mapping[str, frozenset[Role]] = {
    "KeyholderService": _OWNER,
    "ImportService": _OWNER,
    "ImagingService": _OWNER,
    "TokenService": _OWNER,
    "AuditService": _OWNER,
    "TenantService": _OWNER,
    "KeyService": _OWNER,
    "WorkerService": _WORKER,
}

# What takes away something that was stored, or puts something else in its place.  An append does that only if
# it retires segments, as repacks do, or replaces items: both are the keyholder's.
DESTRUCTIVE: Mapping[str, frozenset[str]] = {
    "storage": frozenset(
        {"ReplaceConfig", "DeleteCollection", "DeleteItems", "TruncateCollection", "UpdateItems"}
    ),
    "evaluator": frozenset({"DropCollection"}),
}
CHANGES_ITEMS = _KEYHOLDER


def callers(method: str) -> frozenset[Role]:
    """Returns who may call a method of gRPC, `/blindsight.SERVICE.v1.NAME/RPC`; nobody, if it is unknown."""
    of, _, rpc = method.removeprefix("/").rpartition("/")
    service, name = of.removeprefix("blindsight.").split(".")[0], of.rpartition(".")[2]
    table = CALLERS.get(service, {})
    return table.get(rpc, frozenset()) if service != "keyholder" else OF_KEYHOLDER.get(name, frozenset())
