"""Records of 1:1 verification: request, decision and timings."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.collections import ASKED_METRIC, METRIC, Metric
from blindsight.wire.common import COLLECTION_SCHEME, SCHEME
from blindsight.wire.records import Record
from blindsight.wire.vectors import VectorLabel


@dataclass(frozen=True, slots=True)
class VerifyHeader(Record[pb.VerifyHeader]):
    """The settings of a verification: of two inputs, or of one input and an item.

    Attributes:
        scheme, parameter_set, metric, embedder: for two inputs; empty or None: the keyholder chooses.  The
            comparison with an item uses those of its collection.
        threshold: largest distance at which both are the same; None: a default, which the answer names.
        collection, id: the item's collection and id; empty for two inputs.
    """

    scheme: Annotated[str, COLLECTION_SCHEME] = ""
    parameter_set: str = ""
    metric: Annotated[Metric | None, ASKED_METRIC] = None
    embedder: str = ""
    threshold: float | None = None
    collection: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class VerifyTimings(Record[pb.VerifyTimings]):
    """The timings of a verification, in seconds, as the keyholder measured them.

    Attributes:
        compare_seconds: from sending the ciphertexts to the evaluator's result.
    """

    embed_seconds: float
    encrypt_seconds: float
    compare_seconds: float
    decrypt_seconds: float
    total_seconds: float

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of each stage by its name without the unit: {"embed": 0.012, ...}."""
        return {field.name.removesuffix("_seconds"): getattr(self, field.name) for field in fields(self)}


class _Told:
    """The conversion of a number that may not be told: NaN in a message, None in a record."""

    def from_message(self, value: float) -> float | None:
        return None if math.isnan(value) else value

    def to_message(self, value: float) -> float:
        return value


@dataclass(frozen=True, slots=True)
class Verification(Record[pb.VerifyResponse]):
    """The decision of a verification.

    Attributes:
        verified: whether distance <= threshold.
        distance: squared Euclidean, or 1 - cosine similarity; None for who may know decisions alone.
        threshold_source: "given", or which default it is.
        vector: which of the item's vectors is the nearest; None: it has one without name and box, or a pair
            was compared.
    """

    verified: bool
    distance: Annotated[float | None, _Told()]
    threshold: float
    threshold_source: str
    metric: Annotated[Metric, METRIC]
    scheme: Annotated[str, SCHEME]
    parameter_set: str
    timings: VerifyTimings
    vector: VectorLabel | None = None
