"""The evaluator's messages about encrypted pixel planes: where they come from, kernels, tiles, results."""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.scale_space import ScaleImage
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.wire.records import Parts, Record


@dataclass(frozen=True, slots=True)
class SentPlanes(Record[pb.SentPlanes]):
    """Tiles that the caller sends, one ciphertext a tile (`blindsight.packing.tiling`).

    Attributes:
        parameter_set: by name.
        key_id: 16 bytes.
        ciphertexts: in all.
        halo: pixels of its neighbours around every tile.
    """

    parameter_set: str
    key_id: bytes
    ciphertexts: int
    halo: int


@dataclass(frozen=True, slots=True)
class StoredPlanes(Record[pb.StoredPlanes]):
    """Tiles that storage has of one photo."""

    collection_id: bytes
    handle: bytes


@dataclass(frozen=True, slots=True)
class PaillierPlanes(Record[pb.PaillierPlanes]):
    """Rows of planes under Paillier that the caller sends (`blindsight.additive.planes`).

    Attributes:
        public_key: "BSAP".
        header: of a row: 64 bytes, "BSAC", a ciphertext for each position.
        height, width: positions of a block, halo included.
        halo: pixels of its neighbours around every block.
    """

    public_key: bytes
    header: bytes
    height: int
    width: int
    halo: int


PlaneSource = SentPlanes | StoredPlanes | PaillierPlanes
PLANE_SOURCE: Parts[pb.PlaneSource, PlaneSource] = Parts(pb.PlaneSource, PlaneSource)


@dataclass(frozen=True, slots=True)
class PlaneTiles(Record[pb.PlaneTiles]):
    """Tiles in a row, 16 or what is left of all; of Paillier planes a row of positions, with its header."""

    block: bytes
    sha256: bytes


@dataclass(frozen=True, slots=True)
class TransformHeader(Record[pb.TransformHeader]):
    """Kernels that are to be applied to planes."""

    planes: PlaneSource
    kernels: tuple[PlaneKernel, ...]


@dataclass(frozen=True, slots=True)
class ScaleSpaceHeader(Record[pb.ScaleSpaceHeader]):
    """Gaussians, and differences of them, that are to be made of planes.

    Attributes:
        phases: 1: of the planes' size, 2: of twice it.
        images: the results of image i are those of kernels i * phases^2 and following.
    """

    planes: PlaneSource
    phases: int
    images: tuple[ScaleImage, ...]


@dataclass(frozen=True, slots=True)
class DifferenceHeader(Record[pb.DifferenceHeader]):
    """Planes that are to be subtracted from each other."""

    minuend: PlaneSource
    subtrahend: PlaneSource


@dataclass(frozen=True, slots=True)
class PlanePlan(Record[pb.PlanePlan]):
    """What is to come; comes first.

    Attributes:
        parameter_set: by name; empty of Paillier planes.
        ciphertexts: of one result.
        width, height, channels: of a stored photo, else 0.
        halo: of the planes.
    """

    parameter_set: str
    key_id: bytes
    ciphertexts: int
    width: int = 0
    height: int = 0
    channels: int = 0
    halo: int = 0


@dataclass(frozen=True, slots=True)
class PlaneResult(Record[pb.PlaneResult]):
    """Consecutive tiles of the result of one kernel; of Paillier planes a row of positions, without the halo.

    Attributes:
        kernel: whose, from 0.
        first: tile, or position.
        block: full ciphertexts of two polynomials in the wire form; Paillier: "BSAC".
    """

    kernel: int
    first: int
    block: bytes


@dataclass(frozen=True, slots=True)
class PlaneSummary(Record[pb.PlaneSummary]):
    """What it cost, summed up over workers; comes last."""

    compute_seconds: float


TransformRequestPart = TransformHeader | PlaneTiles
ScaleSpaceRequestPart = ScaleSpaceHeader | PlaneTiles
PlanePart = PlanePlan | PlaneResult | PlaneSummary

TRANSFORM_REQUEST: Parts[pb.TransformRequest, TransformRequestPart] = Parts(
    pb.TransformRequest, TransformRequestPart
)
SCALE_SPACE_REQUEST: Parts[pb.ScaleSpaceRequest, ScaleSpaceRequestPart] = Parts(
    pb.ScaleSpaceRequest, ScaleSpaceRequestPart
)
TRANSFORM: Parts[pb.TransformResponse, PlanePart] = Parts(pb.TransformResponse, PlanePart)
SCALE_SPACE: Parts[pb.ScaleSpaceResponse, PlanePart] = Parts(pb.ScaleSpaceResponse, PlanePart)
DIFFERENCE: Parts[pb.DifferenceResponse, PlanePart] = Parts(pb.DifferenceResponse, PlanePart)
