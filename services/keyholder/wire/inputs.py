"""Parts of requests that several rpcs share."""

from __future__ import annotations

from typing import Any

import numpy as np

from blindsight.packing.columns import Floats
from blindsight.wire.items import VectorBlock


def matrix(block: Any) -> Floats:
    """Returns the vectors of a block, [vectors, dimension].

    Raises:
        InvalidVector: if the bytes are not a matrix of the stated dimension.
    """
    return VectorBlock.from_message(block).values.astype(np.float64)
