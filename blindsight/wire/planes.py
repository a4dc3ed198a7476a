"""The evaluator's messages for encrypted pixel planes: sources, kernels, tiles and results."""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.scale_space import ScaleImage
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.wire.records import Parts, Record


@dataclass(frozen=True, slots=True)
class SentPlanes(Record[pb.SentPlanes]):
    """The description of tiles that the caller sends, one ciphertext per tile (`blindsight.packing.tiling`).

    Attributes:
        parameter_set: its name.
        key_id: 16 bytes.
        ciphertexts: total number.
        halo: pixels of its neighbours around every tile.
    """

    parameter_set: str
    key_id: bytes
    ciphertexts: int
    halo: int


@dataclass(frozen=True, slots=True)
class StoredPlanes(Record[pb.StoredPlanes]):
    """A reference to the tiles of one photo in storage."""

    collection_id: bytes
    handle: bytes


@dataclass(frozen=True, slots=True)
class PaillierPlanes(Record[pb.PaillierPlanes]):
    """The description of rows of Paillier planes that the caller sends (`blindsight.additive.planes`).

    Attributes:
        public_key: in the "BSAP" format.
        header: header of a row in the "BSAC" format, 64 bytes; a row has a ciphertext for each position.
        height, width: number of positions of a block, halo included.
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
    """Consecutive tiles: 16, or the rest of them; for Paillier planes a row of positions with its header."""

    block: bytes
    sha256: bytes


@dataclass(frozen=True, slots=True)
class TransformHeader(Record[pb.TransformHeader]):
    """A request to apply kernels to planes."""

    planes: PlaneSource
    kernels: tuple[PlaneKernel, ...]


@dataclass(frozen=True, slots=True)
class ScaleSpaceHeader(Record[pb.ScaleSpaceHeader]):
    """A request to compute Gaussians of planes, and differences of Gaussians.

    Attributes:
        phases: 1: results have the size of the planes, 2: twice that.
        images: the results of image i are numbered as kernels i * phases^2 and following.
    """

    planes: PlaneSource
    phases: int
    images: tuple[ScaleImage, ...]


@dataclass(frozen=True, slots=True)
class DifferenceHeader(Record[pb.DifferenceHeader]):
    """A request to subtract planes from each other."""

    minuend: PlaneSource
    subtrahend: PlaneSource


@dataclass(frozen=True, slots=True)
class PlanePlan(Record[pb.PlanePlan]):
    """The description of the results; the first part of an answer.

    Attributes:
        parameter_set: its name; empty for Paillier planes.
        ciphertexts: number of ciphertexts of one result.
        width, height, channels: those of a stored photo, else 0.
        halo: halo of the planes, in pixels.
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
    """Consecutive tiles of one kernel's result; for Paillier planes one row of positions without the halo.

    Attributes:
        kernel: index of the kernel, from 0.
        first: index of the first tile, or of the first position.
        block: full ciphertexts of two polynomials in the wire form; Paillier: in the "BSAC" format.
    """

    kernel: int
    first: int
    block: bytes


@dataclass(frozen=True, slots=True)
class PlaneSummary(Record[pb.PlaneSummary]):
    """The cost of the computation, summed over workers; the last part of an answer."""

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
