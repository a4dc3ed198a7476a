"""What a search asks storage for: as many items as it could have found, whatever it has found.

Those of the k best of each query are asked for whether they pass a threshold or not, and other items beside
them where queries have hits in common, or hits that need no look-up.  The same hits have the same others
beside them, or a search that is repeated would tell which are which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.collection import OpenCollection

_Numbers = npt.NDArray[np.intp]


def looked_up(collection: OpenCollection, best: Sequence[bytes], most: int) -> list[bytes]:
    """Returns the handles to ask for: `most` of live items that have sealed things, or all there are.

    Args:
        best: handles of the best items, of which those are among them that are live and have sealed things.
        most: the largest number of different items that the search could have found.
    """
    slots = collection.slots
    hits = [handle for handle, version in slots.versions(best).items() if version]
    total = sum(int(np.count_nonzero(segment.versions)) for segment in slots.segments.values())
    missing = min(most, total) - len(hits)
    if missing <= 0:
        return hits
    # Of more than are missing, since some may be hits.
    chosen = _different(collection.look_up_seed(hits), total, missing + len(hits))
    known = set(hits)
    return hits + [handle for handle in _handles_of(slots, chosen) if handle not in known][:missing]


def _different(seed: bytes, total: int, count: int) -> _Numbers:
    """Returns `count` different numbers below `total`, or all of them, in an order of the seed's."""
    if total > 4 * count:
        # So many more that enough of them are different, but by a chance that nobody has.
        drawn = _words(seed, 2 * count + 64) % np.uint64(total)
        kept = np.array(list(dict.fromkeys(drawn.tolist())), np.intp)
        if len(kept) >= count:
            return kept[:count]
    return np.argsort(_words(seed, total), kind="stable")[:count]


def _words(seed: bytes, count: int) -> npt.NDArray[np.uint64]:
    return np.frombuffer(hashlib.shake_256(seed).digest(8 * count), "<u8")


def _handles_of(slots: SlotMap, numbers: _Numbers) -> list[bytes]:
    """Returns the handles of items with sealed things by their number, in the order of the numbers."""
    found: dict[int, bytes] = {}
    first = 0
    for segment in slots.segments.values():
        sealed = np.flatnonzero(segment.versions)
        here = numbers[(numbers >= first) & (numbers < first + len(sealed))]
        found |= {int(one): segment.handles[sealed[one - first]].tobytes() for one in here}
        first += len(sealed)
    return [found[int(number)] for number in numbers]
