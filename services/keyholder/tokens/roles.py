"""What the bearer of a token may call, by its role.

Tests compare this table with the contracts, and with docs/identity.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from blindsight.wire.tokens import TokenRole

_OWNER = frozenset({TokenRole.OWNER})
_EDITORS = _OWNER | {TokenRole.EDITOR}
_WRITERS = _EDITORS | {TokenRole.UPLOADER}
_READERS = _EDITORS | {TokenRole.SEARCHER}
_WATCHERS = _EDITORS | {TokenRole.AUDITOR}
_AUDITORS = _OWNER | {TokenRole.AUDITOR}
_ALL = frozenset(TokenRole)

# By service of the contract and rpc.  Workers prove in another way what they are.
MAY_CALL: Mapping[str, Mapping[str, frozenset[TokenRole]]] = {
    "KeyholderService": {
        "CreateCollection": _OWNER,
        "GetCollection": _ALL,
        "ListCollections": _ALL,
        "DeleteCollection": _OWNER,
        "RenameCollection": _OWNER,
        "SetAlias": _OWNER,
        "RemoveAlias": _OWNER,
        "TruncateCollection": _EDITORS,
        "Ingest": _WRITERS,
        "IngestImage": _WRITERS,
        "Search": _READERS,
        "SearchVectors": _READERS,
        "SearchImage": _READERS,
        "Verify": _READERS,
        "Combine": _READERS,
        "GetOriginal": _READERS,
        "GetPlanes": _READERS,
        "ListItems": _EDITORS,
        "CountItems": _EDITORS,
        "GetItem": _READERS,
        "GetVector": _EDITORS,
        "UpdateItems": _EDITORS,
        "DeleteItems": _EDITORS,
        "Repack": _EDITORS,
        "Check": _WATCHERS,
        "AcceptRollback": _OWNER,
        "AcknowledgeAlarms": _OWNER,
        "GetStatus": _WATCHERS,
    },
    "ImportService": {
        "CreateImport": _WRITERS,
        "GetImport": _WRITERS,
        "WatchImport": _WRITERS,
        "ListImports": _WRITERS,
        "CancelImport": _WRITERS,
        "RetryImport": _WRITERS,
        "DropFailed": _EDITORS,
    },
    "ImagingService": {
        "Filter": _READERS,
        "Diff": _READERS,
        "Keypoints": _READERS,
        "Match": _READERS,
    },
    "TokenService": {
        "CreateToken": _OWNER,
        "ListTokens": _OWNER,
        "RevokeToken": _OWNER,
    },
    "AuditService": {
        "ListRecords": _AUDITORS,
        "VerifyLog": _AUDITORS,
    },
    "TenantService": {
        "CreateTenant": _OWNER,
        "ListTenants": _OWNER,
        "SetQuotas": _OWNER,
        "DeleteTenant": _OWNER,
    },
    "KeyService": {
        "StartRotation": _OWNER,
        "GetRotation": _OWNER,
    },
}
# The services that the tokens of tenants may call; all others are the operator's alone.
OF_TENANTS = frozenset({"KeyholderService", "ImportService", "ImagingService", "TokenService"})
# Of a searcher whose token reveals decisions.
OF_DECISIONS = frozenset(
    {"GetCollection", "ListCollections", "Search", "SearchVectors", "SearchImage", "Verify"}
)
# Of what may put other items in the place of those that are there: an upsert, a repair.
MAY_REPLACE = _EDITORS


def of_users(method: str) -> bool:
    """Returns whether a method of gRPC, `/blindsight.keyholder.v1.SERVICE/RPC`, is called with a token."""
    return _service(method) != "WorkerService"


def of_tenants(method: str) -> bool:
    """Returns whether a method of gRPC may be called with a token of a tenant, by its role."""
    return _service(method) in OF_TENANTS


def callers(method: str) -> frozenset[TokenRole]:
    """Returns the roles that may call a method of gRPC; none, if it is unknown."""
    return MAY_CALL.get(_service(method), {}).get(method.rpartition("/")[2], frozenset())


def _service(method: str) -> str:
    return method.rpartition("/")[0].rpartition(".")[2]
