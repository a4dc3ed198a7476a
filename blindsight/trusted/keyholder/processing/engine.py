"""What encrypted image processing asks of a scheme: integer kernels applied to encrypted planes.

A scheme is one class that is a `PlaneEngine`, and one row in `engines.py`.  Everything that is not linear
(rounding, magnitudes, thresholds, decisions) is done by the caller with the numbers that come back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from blindsight.plane_kernels import PlaneKernel
from blindsight.planes import Integers

Planes = npt.NDArray[np.int64]


class Stage(Enum):
    """What is being done."""

    KEYGEN = 1
    ENCRYPT = 2
    COMPUTE = 3
    DECRYPT = 4
    FINISH = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is, in ciphertexts."""

    stage: Stage
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Room:
    """What the messages of a scheme have room for.

    Attributes:
        largest: magnitudes of results stay below it.
        noise: standard deviation of what encryption adds to one value; 0 where results are exact.
        most_norm: largest `PlaneKernel.norm` that leaves the noise of exact results harmless.
    """

    largest: int
    noise: float = 0.0
    most_norm: float = float("inf")


@dataclass(slots=True)
class Account:
    """What it took.

    Attributes:
        round_trips: to the evaluator.
        ciphertexts: that were sent, or that storage had.
        results: ciphertexts that came back.
        sent_bytes, received_bytes: of ciphertext.
        encrypt_seconds, compute_seconds, decrypt_seconds: of work, added up over workers; they overlap.
        views: first bytes of what the evaluator got and of what it gave, by name; where they were asked for.
    """

    round_trips: int = 0
    ciphertexts: int = 0
    results: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    encrypt_seconds: float = 0.0
    compute_seconds: float = 0.0
    decrypt_seconds: float = 0.0
    views: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Transformed:
    """The last thing that an engine yields.

    Attributes:
        values: int64 [kernels, planes, height, width]; of a difference [1, planes, height, width].
    """

    values: Planes


class PlaneEngine(Protocol):
    """One scheme at work for one job.

    Attributes:
        room: what results must fit into; see `imaging.quantising`.
        account: of all calls so far.
    """

    room: Room
    account: Account

    def transform(
        self, padded: Integers, reach: int, kernels: Sequence[PlaneKernel]
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Encrypts planes, has the evaluator apply every kernel to every plane, and decrypts: one round trip.

        Args:
            padded: integers [planes, height + 2 reach, width + 2 reach], with what lies beyond the border.
            reach: at least that of every kernel.

        Raises:
            InvalidArgument: when there is no room for it.
            ResourceExhausted: when it is too much.
            InvalidCiphertext: when the evaluator answered with something else than was asked for.
            Unavailable: when the evaluator or a worker is gone.
        """

    def difference(
        self, minuend: Integers, subtrahend: Integers
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Encrypts planes [planes, height, width] of both, has the evaluator subtract, and decrypts.

        Raises:
            As `transform`.
        """
