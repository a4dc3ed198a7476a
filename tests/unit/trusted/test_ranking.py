"""Which scores count as the best."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blindsight.trusted.similarity.ranking import best_of

VALUES = arrays.arrays(np.float64, st.integers(0, 40), elements=st.floats(-2, 2, width=16))


@given(VALUES, st.integers(1, 50), st.booleans())
def test_the_best_come_first_and_nothing_better_is_left_out(values, k, largest):
    chosen = best_of(values, k, largest=largest)
    assert len(set(chosen.tolist())) == len(chosen) == min(k, len(values))
    ordered = np.sort(values)[::-1] if largest else np.sort(values)
    np.testing.assert_array_equal(values[chosen], ordered[:k])


@pytest.mark.parametrize("largest", [True, False])
def test_equal_scores_are_all_as_good(largest):
    assert sorted(best_of(np.ones(4), 4, largest=largest).tolist()) == [0, 1, 2, 3]
