"""How a weighted sum is cut into pieces of work."""

import pytest
from support.additive import key

from blindsight.additive import SCHEMES, AdditiveScheme
from services.evaluator.operations.combine import MAX_BLOCKS, ciphertexts_at_once

HEAVY = [2**61] * MAX_BLOCKS


@pytest.mark.parametrize("scheme", AdditiveScheme, ids=lambda one: SCHEMES[one].name)
def test_a_piece_has_the_fewer_ciphertexts_the_more_work_one_is(scheme):
    public = key(scheme).public_key
    light, two, heavy = (ciphertexts_at_once(public, weights) for weights in ([1], [1, -1], HEAVY))
    assert light > two > heavy >= 1
