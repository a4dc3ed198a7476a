"""Between protocol messages and the SDK's values."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from blindsight.client.models import (
    CollectionInfo,
    Combination,
    CombineProgress,
    CombineStage,
    CombineTimings,
    FailedItem,
    Hit,
    ImportInfo,
    ImportState,
    IngestItem,
    KeypointAgreement,
    MatchDrawing,
    Metric,
    Outcome,
    RepackProgress,
    SearchTimings,
    ServiceStatus,
    VaultStatus,
    Verification,
    VerifyTimings,
)
from blindsight.errors import BlindsightError, InvalidArgument
from blindsight.rpc.keyholder.v1 import imports_pb2
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime import transfer as streams

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

METRICS: dict[Metric, pb.Metric.ValueType] = {
    "cosine": pb.METRIC_COSINE,
    "euclidean": pb.METRIC_EUCLIDEAN,
    "dot": pb.METRIC_DOT,
    "squared-cosine": pb.METRIC_SQUARED_COSINE,
}
_METRIC_NAMES = {number: name for name, number in METRICS.items()}
_OUTCOMES: dict[pb.Outcome.ValueType, Outcome] = {
    pb.OUTCOME_STORED: "stored",
    pb.OUTCOME_DUPLICATE: "duplicate",
    pb.OUTCOME_REJECTED: "rejected",
}


_IMAGE_MODES: dict[str, pb.ImageMode.ValueType] = {
    "auto": pb.IMAGE_MODE_UNSPECIFIED,
    "grey": pb.IMAGE_MODE_GREY,
    "rgb": pb.IMAGE_MODE_RGB,
}
_STAGES: dict[pb.CombineStage.ValueType, CombineStage] = {
    pb.COMBINE_STAGE_KEYGEN: "keygen",
    pb.COMBINE_STAGE_ENCRYPT: "encrypt",
    pb.COMBINE_STAGE_COMPUTE: "compute",
    pb.COMBINE_STAGE_DECRYPT: "decrypt",
}


_IMPORT_STATES: dict[imports_pb2.ImportState.ValueType, ImportState] = {
    imports_pb2.IMPORT_STATE_RECEIVING: "receiving",
    imports_pb2.IMPORT_STATE_RUNNING: "running",
    imports_pb2.IMPORT_STATE_FINISHED: "finished",
    imports_pb2.IMPORT_STATE_CANCELLED: "cancelled",
}


def metric(name: str) -> pb.Metric.ValueType:
    """The metric of that name.

    Raises:
        InvalidArgument: when there is none; the message lists the known.
    """
    for known, number in METRICS.items():
        if known == name:
            return number
    raise InvalidArgument(f"metric {name!r}, want one of {', '.join(METRICS)}")


def metric_name(number: pb.Metric.ValueType) -> Metric:
    """The name of a metric.

    Raises:
        BlindsightError: when the keyholder is newer and has a metric that this client does not know.
    """
    if number not in _METRIC_NAMES:
        raise BlindsightError(f"the keyholder has metric {number}, which this client does not know")
    return _METRIC_NAMES[number]


def collection(message: pb.Collection) -> CollectionInfo:
    """A collection.

    Raises:
        BlindsightError: see `metric_name`.
    """
    plain = {field.name: getattr(message, field.name) for field in fields(CollectionInfo)}
    return CollectionInfo(**{**plain, "metric": metric_name(message.metric)})


def item(message: pb.ItemResult, path: str) -> IngestItem:
    """What became of the photo at `path`.

    Raises:
        BlindsightError: for an outcome that this client does not know.
    """
    if message.outcome not in _OUTCOMES:
        raise BlindsightError(f"the keyholder has outcome {message.outcome}, which this client does not know")
    return IngestItem(
        path, _OUTCOMES[message.outcome], message.id, message.reason, message.message, message.remark
    )


def import_info(message: imports_pb2.Import) -> ImportInfo:
    """A bulk ingest.

    Raises:
        BlindsightError: for a state that this client does not know.
    """
    if message.state not in _IMPORT_STATES:
        raise BlindsightError(
            f"the keyholder has import state {message.state}, which this client does not know"
        )
    plain = {field.name: getattr(message, field.name) for field in fields(ImportInfo)}
    return ImportInfo(**{**plain, "state": _IMPORT_STATES[message.state]})


def failed_item(message: imports_pb2.FailedItem) -> FailedItem:
    """An item of a bulk ingest that failed."""
    return FailedItem(message.number, message.name, message.reason, message.message)


def hits(message: pb.Hits) -> list[Hit]:
    """The hits of one query, best first."""
    return [
        Hit(
            hit.id,
            hit.score,
            hit.name,
            tuple(hit.channels),
            _agreement(hit.keypoints) if hit.HasField("keypoints") else None,
        )
        for hit in message.hits
    ]


def _agreement(message: pb.KeypointAgreement) -> KeypointAgreement:
    return KeypointAgreement(message.inliers, message.matches, message.verified)


def drawing(message: pb.Drawing) -> MatchDrawing:
    """Pictures of a hit."""
    return MatchDrawing(message.rank, message.photo, message.drawn)


def timings(message: pb.SearchTimings) -> SearchTimings:
    """A search's account of its time."""
    return SearchTimings(**{field.name: getattr(message, field.name) for field in fields(SearchTimings)})


def verification(message: pb.VerifyResponse) -> Verification:
    """The answer of a verification.

    Raises:
        BlindsightError: see `metric_name`.
    """
    timings = {field.name: getattr(message.timings, field.name) for field in fields(VerifyTimings)}
    plain = {field.name: getattr(message, field.name) for field in fields(Verification)}
    known = {"metric": metric_name(message.metric), "timings": VerifyTimings(**timings)}
    return Verification(**{**plain, **known})


def image_mode(name: str) -> pb.ImageMode.ValueType:
    """The image mode of that name.

    Raises:
        InvalidArgument: when there is none; the message lists the known.
    """
    if name not in _IMAGE_MODES:
        raise InvalidArgument(f"image mode {name!r}, want one of {', '.join(_IMAGE_MODES)}")
    return _IMAGE_MODES[name]


def combine_progress(message: pb.CombineProgress) -> CombineProgress:
    """How far a weighted sum is.

    Raises:
        BlindsightError: for a stage that this client does not know.
    """
    if message.stage not in _STAGES:
        raise BlindsightError(f"the keyholder has stage {message.stage}, which this client does not know")
    return CombineProgress(_STAGES[message.stage], message.done, message.total)


def combination(message: pb.CombineResult, values: npt.NDArray[np.int64]) -> Combination:
    """A weighted sum; its values came in chunks."""
    timings = {field.name: getattr(message.timings, field.name) for field in fields(CombineTimings)}
    names = [field.name for field in fields(Combination) if field.name != "values"]
    plain = {name: getattr(message, name) for name in names}
    known = {"weights": tuple(message.weights), "timings": CombineTimings(**timings)}
    return Combination(values, **{**plain, **known})


def repack(message: pb.RepackResponse) -> RepackProgress:
    """How far a repack is."""
    return RepackProgress(**{field.name: getattr(message, field.name) for field in fields(RepackProgress)})


def status(message: pb.GetStatusResponse) -> VaultStatus:
    """The state of the services."""
    names = [field.name for field in fields(ServiceStatus)]
    services = [ServiceStatus(**{name: getattr(one, name) for name in names}) for one in message.services]
    return VaultStatus(tuple(services), message.key_id, tuple(collection(one) for one in message.collections))


def pixels(header: pb.PlanesHeader, data: bytes) -> npt.NDArray[np.uint8]:
    """Pixels of planes: uint8 [height, width] or [height, width, 3]."""
    import numpy as np  # it takes its time, and most commands do without it

    shape = (header.height, header.width) + ((header.channels,) if header.channels > 1 else ())
    return np.frombuffer(data, np.uint8).reshape(shape).copy()


def file_header(name: str, data: bytes) -> pb.FileHeader:
    """Announces a photo."""
    return pb.FileHeader(name=name, size_bytes=len(data), sha256=streams.digest(data))
