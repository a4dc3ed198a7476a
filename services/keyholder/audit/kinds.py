"""How each call is recorded.

Tests compare the table with the contracts, and with docs/audit.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Kind(Enum):
    """How a call is recorded.

    CHANGE: by its beginning and its end, before it is answered.
    REVEAL: by its beginning, before anything is told; and by its end, soon after.
    COUNTED: with others of the same caller, rpc, collections and outcome, once a minute.
    """

    CHANGE = "change"
    REVEAL = "reveal"
    COUNTED = "counted"


KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(
        (
            *("CreateCollection", "DeleteCollection", "RenameCollection", "SetAlias", "RemoveAlias"),
            *("TruncateCollection", "Ingest", "IngestImage", "UpdateItems", "DeleteItems", "Repack", "Check"),
            *("AcceptRollback", "AcknowledgeAlarms"),
            *("CreateImport", "CancelImport", "RetryImport", "DropFailed"),
            *("CreateToken", "RevokeToken", "CreateTenant", "SetQuotas", "DeleteTenant", "StartRotation"),
        ),
        Kind.CHANGE,
    ),
    **dict.fromkeys(
        (
            *("Search", "SearchVectors", "SearchImage", "Verify", "Combine"),
            *("GetOriginal", "GetPlanes", "ListItems", "CountItems", "GetItem", "GetVector", "GetImport"),
            *("Filter", "Diff", "Keypoints", "Match"),
        ),
        Kind.REVEAL,
    ),
    **dict.fromkeys(
        (
            *(
                "GetCollection",
                "ListCollections",
                "GetStatus",
                "WatchImport",
                "ListImports",
                "ListTokens",
                "ListTenants",
            ),
            *("ListRecords", "VerifyLog", "GetRotation", "ReportItems", "NoteTrial"),
        ),
        Kind.COUNTED,
    ),
}
