"""Weighted sums: what is combined, how far it is, and how the result came about."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import digest
from blindsight.wire.names import AskedNames, Names
from blindsight.wire.records import Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CombineStage = Literal["keygen", "encrypt", "compute", "decrypt"]
ImageMode = Literal["auto", "grey", "rgb"]

STAGE: Names[CombineStage] = Names(
    "stage",
    {
        "keygen": pb.COMBINE_STAGE_KEYGEN,
        "encrypt": pb.COMBINE_STAGE_ENCRYPT,
        "compute": pb.COMBINE_STAGE_COMPUTE,
        "decrypt": pb.COMBINE_STAGE_DECRYPT,
    },
)
IMAGE_MODE: AskedNames[ImageMode] = AskedNames(
    "image mode",
    {"auto": pb.IMAGE_MODE_UNSPECIFIED, "grey": pb.IMAGE_MODE_GREY, "rgb": pb.IMAGE_MODE_RGB},
    unspecified="auto",
)


@dataclass(frozen=True, slots=True)
class CombineHeader(Record[pb.CombineHeader]):
    """How inputs are to be combined.

    Attributes:
        scheme: an additive one; empty: paillier.
        key_bits: 0 for the scheme's default.
        weights: one for each input; none: all 1.
        image_mode: how pictures are read: "auto" is grey when none has colour, else RGB.
        insecure_small_keys: lets LightPHE's algorithms have keys that anybody can break.
    """

    scheme: str = ""
    key_bits: int = 0
    weights: tuple[int, ...] = ()
    image_mode: Annotated[ImageMode, IMAGE_MODE] = "auto"
    insecure_small_keys: bool = False


@dataclass(frozen=True, slots=True)
class ArrayHeader(Record[pb.ArrayHeader]):
    """Integers whose chunks follow.

    Attributes:
        shape: 1 to 8 axes.
        sha256: of the values, int64 little-endian, the last axis fastest.
    """

    shape: tuple[int, ...]
    sha256: bytes

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> tuple[Self, bytes]:
        """Announces integers; the header and their bytes."""
        data = packed(values)
        return cls(values.shape, digest(data)), data


@dataclass(frozen=True, slots=True)
class CombineProgress(Record[pb.CombineProgress]):
    """How far a weighted sum is.

    Attributes:
        stage: what is being done.
        done, total: ciphertexts of the stage; for "keygen", keys.
    """

    stage: Annotated[CombineStage, STAGE]
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class CombineTimings(Record[pb.CombineTimings]):
    """Where a weighted sum spent its time, in seconds, as the keyholder measured it.

    Attributes:
        compute_seconds: from sending the ciphertexts to the evaluator's whole result.
        total_seconds: with reading the inputs.
    """

    keygen_seconds: float = 0.0
    encrypt_seconds: float = 0.0
    compute_seconds: float = 0.0
    decrypt_seconds: float = 0.0
    total_seconds: float = 0.0

    def seconds(self) -> dict[str, float]:
        """The stages by name, without the unit in it: {"keygen": 0.012, ...}."""
        return {field.name.removesuffix("_seconds"): getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class CombineResult(Record[pb.CombineResult]):
    """How a weighted sum came about; the chunks of its values follow.

    Attributes:
        shape: of the values, int64 little-endian, and of every input.
        description: of the scheme, for people.
        warning: not empty where people must be told whenever they are shown the result: that scramble is no
            encryption, or that the key was one that anybody can break.
        weights: one for each input.
        ciphertexts: of one input.
        sent_bytes, received_bytes: of ciphertext, to and from the evaluator.
        size_bytes, sha256: of the values.
    """

    shape: tuple[int, ...]
    scheme: str
    key_bits: int
    description: str
    warning: str
    weights: tuple[int, ...]
    ciphertexts: int
    sent_bytes: int
    received_bytes: int
    timings: CombineTimings
    size_bytes: int
    sha256: bytes


def packed(values: npt.NDArray[Any]) -> bytes:
    """Integers as they are sent: int64 little-endian, the last axis fastest."""
    return values.astype("<i8").tobytes()


def unpacked(data: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The inverse of `packed`.

    Raises:
        ValueError: when they do not fit the shape.
    """
    import numpy as np

    return np.frombuffer(data, "<i8").astype(np.int64).reshape(shape)
