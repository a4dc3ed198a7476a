"""The SDK: a vault's owner from Python, synchronous and typed.

    import blindsight

    with blindsight.connect() as vault:
        photos = vault.create_collection("photos")
        photos.ingest(["holiday/", "scans/*.png"])
        for hit in photos.search("query.jpg", k=5).results[0]:
            print(hit.score, hit.name)

It talks to a keyholder and holds no key.  Every error is one of `blindsight.errors`.
"""

from __future__ import annotations

from blindsight.client.calls import request_id
from blindsight.client.collection import Collection
from blindsight.client.combining import CombineInput
from blindsight.client.imaging import OperationInput, PictureInput
from blindsight.client.imports import Import
from blindsight.client.inputs import ImageInput, Inputs
from blindsight.client.models import (
    Combination,
    Difference,
    Filtered,
    IngestItem,
    IngestProgress,
    IngestReport,
    Keypoints,
    Matching,
    Original,
    SearchAnswer,
)
from blindsight.client.vault import Vault, connect
from blindsight.client.verifying import VerifyInput
from blindsight.wire.collections import CollectionInfo, Deletion, RepackProgress, ServiceStatus, VaultStatus
from blindsight.wire.combine import CombineProgress, CombineTimings
from blindsight.wire.imaging import ImagingAccount, ImagingProgress, Keypoint, KeypointMatch, StoredPhoto
from blindsight.wire.imports import FailedItem, ImportInfo
from blindsight.wire.search import Hit, KeypointAgreement, MatchDrawing, SearchTimings
from blindsight.wire.verify import Verification, VerifyTimings

__all__ = [
    "Collection",
    "CollectionInfo",
    "Combination",
    "CombineInput",
    "CombineProgress",
    "CombineTimings",
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
    "Keypoint",
    "KeypointAgreement",
    "KeypointMatch",
    "Keypoints",
    "MatchDrawing",
    "Matching",
    "OperationInput",
    "Original",
    "PictureInput",
    "RepackProgress",
    "SearchAnswer",
    "SearchTimings",
    "ServiceStatus",
    "StoredPhoto",
    "Vault",
    "VaultStatus",
    "Verification",
    "VerifyInput",
    "VerifyTimings",
    "connect",
    "request_id",
]
