"""What encrypted image processing asks of a scheme: integer kernels applied to encrypted planes.

A scheme is a `PlaneScheme`, with which jobs are planned, a `PlaneEngine`, which runs them, and a row in
`engines.py`.  Everything that is not linear (rounding, magnitudes, thresholds, decisions) is done by the
caller with the numbers that come back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.planes import Integers
from blindsight.trusted.imaging.quantising import Room

# Results stay below 2^30 under every scheme.
Values = npt.NDArray[np.int32]
# Channels, height and width.
Shape = tuple[int, int, int]


class Stage(StrEnum):
    """What is being done."""

    KEYGEN = "keygen"
    ENCRYPT = "encrypt"
    COMPUTE = "compute"
    DECRYPT = "decrypt"
    FINISH = "finish"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: in ciphertexts, with keypoints in pixels of the octaves."""

    stage: Stage
    done: int
    total: int


class Stored(StrEnum):
    """What became of the planes of stored photos."""

    NONE = ""  # there were none
    IN_PLACE = "in place"  # the evaluator computed with them where they are
    DECRYPTED = "decrypted"  # of one photo at least: the keyholder fetched and decrypted them


@dataclass(slots=True)
class Account:
    """What it took, and under what.

    Attributes:
        scheme: its name.
        parameter_set: of the owner's key; empty for a key of this job alone.
        key_bits: of a key of this job alone, else 0.
        description: a sentence on the scheme.
        warning: a sentence that must be shown; empty without one.
        round_trips: to the evaluator.
        ciphertexts: that were sent, or that storage had.
        results: ciphertexts that came back.
        sent_bytes, received_bytes: of ciphertext.
        encrypt_seconds, compute_seconds, decrypt_seconds: of work, added up over workers; they overlap.
        stored: what became of the planes of stored photos.
        remarks: sentences on what was done to a picture on the way.
        views: grey pixels in a row, of what the evaluator got and of what it gave, where they were asked for:
            the names are a, b and result.
    """

    scheme: str
    parameter_set: str = ""
    key_bits: int = 0
    description: str = ""
    warning: str = ""
    round_trips: int = 0
    ciphertexts: int = 0
    results: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    encrypt_seconds: float = 0.0
    compute_seconds: float = 0.0
    decrypt_seconds: float = 0.0
    total_seconds: float = 0.0
    stored: Stored = Stored.NONE
    remarks: list[str] = field(default_factory=list)
    views: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)

    def note_in_place(self) -> None:
        """Notes that stored planes are computed with where they are."""
        if self.stored is Stored.NONE:
            self.stored = Stored.IN_PLACE

    def note_decrypted(self, remark: str) -> None:
        """Notes that stored planes are decrypted, with a sentence that says why."""
        self.stored = Stored.DECRYPTED
        self.remarks.append(remark)


@dataclass(frozen=True, slots=True, eq=False)
class Transformed:
    """The last thing that an engine yields.

    Attributes:
        values: int32 [kernels, planes, height, width]; of a difference [1, planes, height, width].
    """

    values: Values


class RoundTrip(Protocol):
    """Kernels applied to planes by the evaluator, before anything is encrypted."""

    @property
    def ciphertexts(self) -> int:
        """That go there, or that storage has."""

    @property
    def results(self) -> int:
        """Ciphertexts that come back."""


class PlaneScheme(Protocol):
    """A scheme as jobs are planned with it; it never changes."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def parameter_set(self) -> str:
        """Of the owner's key; empty for a key of the job alone."""

    @property
    def room(self) -> Room:
        """What results must fit into; see `imaging.quantising`."""

    @property
    def value_bytes(self) -> int:
        """Memory that the keyholder takes to bring a value from its plane to where it is encrypted."""

    def trip(self, shape: Shape, reach: int, kernels: Sequence[PlaneKernel]) -> RoundTrip:
        """Plans a round trip.

        Args:
            shape: of the planes.
            reach: at least that of every kernel; planes come with so many pixels beyond their border.

        Raises:
            InvalidArgument: if it has no room.
        """


class PlaneEngine(Protocol):
    """One scheme at work for one job.

    Attributes:
        account: of all calls so far.
    """

    account: Account

    def transform(self, trip: Any, padded: Integers) -> AsyncGenerator[Progress | Transformed, None]:
        """Encrypts planes, has the evaluator apply every kernel to every plane, and decrypts.

        Args:
            trip: planned by the engine's scheme.
            padded: integers [planes, height + 2 reach, width + 2 reach], with what lies beyond the border.

        Raises:
            ResourceExhausted: when it takes too long.
            DataLoss: when the evaluator answered with something else than was asked for.
            Unavailable: when the evaluator or a worker is gone.
        """

    def difference(
        self, minuend: Integers, subtrahend: Integers
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Encrypts planes [planes, height, width] of both, has the evaluator subtract, and decrypts.

        Raises:
            As `transform`.
        """
