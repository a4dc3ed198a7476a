"""The SDK for the owner of a vault, typed; synchronous, and for asyncio as `AsyncVault`.

    import blindsight

    with blindsight.connect() as vault:
        photos = vault.create_collection("photos")
        photos.ingest(["holiday/", "scans/*.png"])
        for hit in photos.search("query.jpg", k=5).results[0]:
            print(hit.score, hit.name)

It talks to a keyholder and holds no key.  Every error is one of `blindsight.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from blindsight.client.calls import request_id
from blindsight.client.collection import Collection
from blindsight.client.connecting import connect
from blindsight.client.inputs import ImageInput, Inputs, Photo
from blindsight.client.models import IngestItem, IngestProgress, IngestReport, Original, SearchAnswer
from blindsight.client.vault import Vault
from blindsight.wire.collections import (
    Alarm,
    CheckProgress,
    CollectionInfo,
    Damage,
    Deletion,
    RepackProgress,
    Rollback,
    ServiceStatus,
    TruncateProgress,
    VaultStatus,
)
from blindsight.wire.listing import Item, ItemPage, Updated
from blindsight.wire.search import Hit, KeypointAgreement, MatchDrawing, SearchTimings
from blindsight.wire.vectors import Box, PhotoVector, VectorLabel

if TYPE_CHECKING:
    from blindsight.client.asynchronous import AsyncCollection, AsyncImport, AsyncVault
    from blindsight.client.combining import Combination, CombineInput
    from blindsight.client.imaging import (
        Difference,
        Filtered,
        Keypoints,
        Matching,
        OperationInput,
        PictureInput,
    )
    from blindsight.client.imports import Import
    from blindsight.client.verifying import VerifyInput
    from blindsight.wire.combine import CombineProgress, CombineTimings
    from blindsight.wire.imaging import ImagingAccount, ImagingProgress, Keypoint, KeypointMatch, StoredPhoto
    from blindsight.wire.imports import FailedItem, ImportInfo, RemarkedItem
    from blindsight.wire.verify import Verification, VerifyTimings

__all__ = [
    "Alarm",
    "AsyncCollection",
    "AsyncImport",
    "AsyncVault",
    "Box",
    "CheckProgress",
    "Collection",
    "CollectionInfo",
    "Combination",
    "CombineInput",
    "CombineProgress",
    "CombineTimings",
    "Damage",
    "Deletion",
    "Difference",
    "FailedItem",
    "Filtered",
    "Hit",
    "ImageInput",
    "ImagingAccount",
    "ImagingProgress",
    "Import",
    "ImportInfo",
    "IngestItem",
    "IngestProgress",
    "IngestReport",
    "Inputs",
    "Item",
    "ItemPage",
    "Keypoint",
    "KeypointAgreement",
    "KeypointMatch",
    "Keypoints",
    "MatchDrawing",
    "Matching",
    "OperationInput",
    "Original",
    "Photo",
    "PhotoVector",
    "PictureInput",
    "RemarkedItem",
    "RepackProgress",
    "Rollback",
    "SearchAnswer",
    "SearchTimings",
    "ServiceStatus",
    "StoredPhoto",
    "TruncateProgress",
    "Updated",
    "Vault",
    "VaultStatus",
    "VectorLabel",
    "Verification",
    "VerifyInput",
    "VerifyTimings",
    "connect",
    "request_id",
]

# Modules with the names of `__all__` that are imported on first use.
_LATER = (
    *("client.asynchronous", "client.imaging", "client.combining", "client.imports", "client.verifying"),
    *("wire.imaging", "wire.combine", "wire.imports", "wire.verify"),
)


def __getattr__(name: str) -> Any:
    """Imports a name of `__all__` on first use: programs that only search and ingest start faster."""
    if name in __all__:
        for module in _LATER:
            found = getattr(import_module(f"blindsight.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
