"""Records of weighted sums between client and keyholder: request, progress and result."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import digest
from blindsight.wire.common import ADDITIVE_SCHEME, COLOURS, SCHEME, ImageMode
from blindsight.wire.names import Names
from blindsight.wire.records import Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CombineStage = Literal["keygen", "encrypt", "compute", "decrypt"]

STAGE: Names[CombineStage] = Names(
    "stage",
    {
        "keygen": pb.COMBINE_STAGE_KEYGEN,
        "encrypt": pb.COMBINE_STAGE_ENCRYPT,
        "compute": pb.COMBINE_STAGE_COMPUTE,
        "decrypt": pb.COMBINE_STAGE_DECRYPT,
    },
)


@dataclass(frozen=True, slots=True)
class CombineHeader(Record[pb.CombineHeader]):
    """The settings of a weighted sum.

    Attributes:
        scheme: an additive scheme; empty: paillier.
        key_bits: 0: the scheme's default.
        weights: one for each input; empty: all 1.
        colours: how pictures are read: "auto" is grey when none has colour, else RGB.
        insecure_small_keys: whether LightPHE's algorithms may use keys too small to be secure.
    """

    scheme: Annotated[str, ADDITIVE_SCHEME] = ""
    key_bits: int = 0
    weights: tuple[int, ...] = ()
    colours: Annotated[ImageMode, COLOURS] = "auto"
    insecure_small_keys: bool = False


@dataclass(frozen=True, slots=True)
class ArrayHeader(Record[pb.ArrayHeader]):
    """The header of an array of integers; its chunks follow.

    Attributes:
        shape: 1 to 8 axes.
        sha256: SHA-256 of the values, int64 little-endian, the last axis fastest; None: only their number is
            checked.
    """

    shape: tuple[int, ...]
    sha256: bytes | None = None

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> tuple[Self, bytes]:
        """Returns the header of an array of integers, and its bytes."""
        data = packed(values)
        return cls(values.shape, digest(data)), data


@dataclass(frozen=True, slots=True)
class CombineProgress(Record[pb.CombineProgress]):
    """The progress of a weighted sum.

    Attributes:
        stage: the current stage.
        done, total: ciphertexts of the stage; for "keygen", keys.
    """

    stage: Annotated[CombineStage, STAGE]
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class CombineTimings(Record[pb.CombineTimings]):
    """The timings of a weighted sum, in seconds, as the keyholder measured them.

    Attributes:
        compute_seconds: from sending the ciphertexts to the evaluator's whole result.
        total_seconds: all stages, and reading the inputs.
    """

    keygen_seconds: float = 0.0
    encrypt_seconds: float = 0.0
    compute_seconds: float = 0.0
    decrypt_seconds: float = 0.0
    total_seconds: float = 0.0

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of each stage by its name without the unit: {"keygen": 0.012, ...}."""
        return {field.name.removesuffix("_seconds"): getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class CombineResult(Record[pb.CombineResult]):
    """The header of a weighted sum's result; the chunks of its values follow.

    Attributes:
        shape: shape of the values, int64 little-endian, and of every input.
        description: human-readable description of the scheme.
        warning: text to display with the result wherever it is shown, if not empty: scramble is not
            encryption, or the key was too small to be secure.
        weights: one for each input.
        ciphertexts: number of ciphertexts of one input.
        sent_bytes, received_bytes: bytes of ciphertext, to and from the evaluator.
        size_bytes, sha256: size and SHA-256 of the values.
    """

    shape: tuple[int, ...]
    scheme: Annotated[str, SCHEME]
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
    """Returns integers as they are sent: int64 little-endian, the last axis fastest."""
    return values.astype("<i8").tobytes()


def unpacked(data: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Returns the int64 array of what `packed` returned.

    Raises:
        ValueError: if the number of values does not match the shape.
    """
    import numpy as np

    return np.frombuffer(data, "<i8").astype(np.int64).reshape(shape)
