"""Parts of requests that several rpcs share."""

from __future__ import annotations

from typing import Any

import numpy as np

from blindsight.packing.columns import Floats
from blindsight.wire.items import VectorBlock


def matrix(block: Any) -> Floats:
    """The vectors of a block: [vectors, dimension].

    Raises:
        InvalidVector: when the bytes do not make a matrix of that dimension.
    """
    return VectorBlock.from_message(block).values.astype(np.float64)
