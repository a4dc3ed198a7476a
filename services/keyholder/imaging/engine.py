"""The interface of schemes for encrypted image processing: integer kernels applied to encrypted planes.

A scheme is a `PlaneScheme`, with which jobs are planned, a `PlaneEngine`, which runs them, and a row in
`engines.py`.  Everything that is not linear (rounding, magnitudes, thresholds, decisions) is done by the
caller with the decrypted results.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import Residues
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.planes import Integers
from blindsight.trusted.imaging.quantising import Room
from blindsight.wire.planes import StoredPlanes

# Results stay below 2^30 under every scheme.
Values = npt.NDArray[np.int32]
# Channels, height and width.
Shape = tuple[int, int, int]


class Stage(StrEnum):
    """Stages of a job."""

    KEYGEN = "keygen"
    ENCRYPT = "encrypt"
    COMPUTE = "compute"
    DECRYPT = "decrypt"
    FINISH = "finish"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a stage, in ciphertexts; for keypoints in pixels of the octaves."""

    stage: Stage
    done: int
    total: int


class Stored(StrEnum):
    """Uses of the planes of stored photos by a job."""

    NONE = ""  # there were none
    IN_PLACE = "in place"  # the evaluator read them from storage
    DECRYPTED = "decrypted"  # the keyholder fetched and decrypted those of at least one photo


@dataclass(slots=True)
class Account:
    """Scheme and costs of a job.

    Attributes:
        scheme: the scheme's name.
        parameter_set: parameter set of the owner's key; empty if the key is only for this job.
        key_bits: size of a key that is only for this job, else 0.
        description: a sentence on the scheme.
        warning: a sentence that must be shown; empty if there is none.
        round_trips: number of calls to the evaluator.
        ciphertexts: number of ciphertexts sent, or read from storage by the evaluator.
        results: number of ciphertexts that came back.
        sent_bytes, received_bytes: sizes of the ciphertexts.
        encrypt_seconds, compute_seconds, decrypt_seconds: time summed over worker processes; they overlap.
        stored: how the planes of stored photos were used.
        remarks: sentences on conversions of the pictures.
        views: if wanted, flat grey pixels that show what the evaluator received (a, b) and returned (result).
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
        """Records that the evaluator reads stored planes from storage."""
        if self.stored is Stored.NONE:
            self.stored = Stored.IN_PLACE

    def note_decrypted(self, remark: str) -> None:
        """Records that stored planes are decrypted, with a sentence that says why."""
        self.stored = Stored.DECRYPTED
        self.remarks.append(remark)


@dataclass(frozen=True, slots=True, eq=False)
class Transformed:
    """The result of an engine, which it yields last.

    Attributes:
        values: int32 [kernels, planes, height, width]; for a difference [1, planes, height, width].
    """

    values: Values


@dataclass(frozen=True, slots=True, eq=False)
class StoredTiles:
    """Planes in storage, of which the evaluator computes what is checked by their sealed combination.

    Attributes:
        reference: names them to the evaluator.
        combination: see `blindsight.trusted.imaging.tile_checks`.
    """

    reference: StoredPlanes
    combination: Residues


class RoundTrip(Protocol):
    """The plan of one call that lets the evaluator apply kernels to planes."""

    @property
    def ciphertexts(self) -> int:
        """Number of ciphertexts that are sent, or read from storage."""

    @property
    def results(self) -> int:
        """Number of ciphertexts that come back."""


class PlaneScheme(Protocol):
    """A scheme for planning jobs; it never changes."""

    @property
    def name(self) -> str:
        """The scheme's name."""

    @property
    def parameter_set(self) -> str:
        """Parameter set of the owner's key; empty if each job has its own key."""

    @property
    def room(self) -> Room:
        """Limits that results must stay within; see `imaging.quantising`."""

    @property
    def value_bytes(self) -> int:
        """Memory in bytes that the keyholder takes to prepare one value of a plane for encryption."""

    def trip(self, shape: Shape, reach: int, kernels: Sequence[PlaneKernel]) -> RoundTrip:
        """Plans a round trip.

        Args:
            shape: the planes' shape.
            reach: at least that of every kernel; planes are padded by this many pixels on every side.

        Raises:
            InvalidArgument: if the scheme cannot hold the planes or the results.
        """


class PlaneEngine(Protocol):
    """The engine that runs one job under one scheme.

    Attributes:
        account: costs of all calls so far.
    """

    account: Account

    def transform(self, trip: Any, padded: Integers) -> AsyncGenerator[Progress | Transformed, None]:
        """Encrypts planes, has the evaluator apply every kernel to every plane, and decrypts.

        Args:
            trip: planned by the engine's scheme.
            padded: integers [planes, height + 2 reach, width + 2 reach], the planes with their border.

        Raises:
            ResourceExhausted: if it would take too long.
            DataLoss: if the evaluator's answer is not what was asked for; nothing of it was used then.
            Unavailable: if the evaluator does not answer, or a worker process died.
        """

    def difference(
        self, minuend: Integers, subtrahend: Integers
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Encrypts both operands [planes, height, width], has the evaluator subtract them, and decrypts.

        Raises:
            The errors of `transform`.
        """
