"""Checksums of blocks, which find damage in the cache."""

import numpy as np
from support.evaluator import PARAMETERS

from blindsight.ring.tiles import Geometry
from services.evaluator.computing.checksums import checksum


def test_a_checksum_tells_damage_and_exchange():
    block = np.random.default_rng(1).integers(0, 1 << 27, Geometry(PARAMETERS, 3).shape, np.uint32)
    good = checksum(block)
    assert checksum(block.copy()) == good
    seen = {good}
    for place in (0, 1, block.size // 2, block.size - 1):
        for bit in (0, 13, 31):
            damaged = block.copy()
            damaged.reshape(-1)[place] ^= np.uint32(1 << bit)
            seen.add(checksum(damaged))
    assert len(seen) == 13
    exchanged = block.copy()
    exchanged[[10, 11]] = exchanged[[11, 10]]
    assert checksum(exchanged) != good
