"""1:1 verification: what is compared, and the decision."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.collections import ASKED_METRIC, METRIC, Metric
from blindsight.wire.records import Record


@dataclass(frozen=True, slots=True)
class VerifyHeader(Record[pb.VerifyHeader]):
    """How two inputs are to be compared, or one with an item, of which the collection says how.

    Attributes:
        scheme, parameter_set, metric, embedder: of two inputs; what is empty or None is chosen.
        threshold: largest distance that is still the same; None: a default, which the answer names.
        collection, id: of an item.
    """

    scheme: str = ""
    parameter_set: str = ""
    metric: Annotated[Metric | None, ASKED_METRIC] = None
    embedder: str = ""
    threshold: float | None = None
    collection: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class VerifyTimings(Record[pb.VerifyTimings]):
    """Where a verification spent its time, in seconds, as the keyholder measured it.

    Attributes:
        compare_seconds: from sending the ciphertexts to the evaluator's result.
    """

    embed_seconds: float
    encrypt_seconds: float
    compare_seconds: float
    decrypt_seconds: float
    total_seconds: float

    def seconds(self) -> dict[str, float]:
        """The stages by name, without the unit in it: {"embed": 0.012, ...}."""
        return {field.name.removesuffix("_seconds"): getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Verification(Record[pb.VerifyResponse]):
    """Whether two things are the same.

    Attributes:
        verified: distance <= threshold.
        distance: squared Euclidean, or 1 - cosine similarity.
        threshold_source: "given", or which default it is.
    """

    verified: bool
    distance: float
    threshold: float
    threshold_source: str
    metric: Annotated[Metric, METRIC]
    scheme: str
    parameter_set: str
    timings: VerifyTimings
