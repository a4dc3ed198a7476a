"""The numbers of items that are asked for beside hits."""

from __future__ import annotations

import pytest

from services.keyholder.operations.look_ups import _different


@pytest.mark.parametrize(
    ("total", "count"), [(1, 1), (5, 1), (9, 2), (10, 10), (10, 20), (4000, 1000), (4001, 1000), (10**6, 300)]
)
def test_they_are_different_as_many_as_wanted_and_the_same_for_a_seed_alone(total: int, count: int) -> None:
    chosen = _different(b"a seed", total, count).tolist()
    assert len(chosen) == len(set(chosen)) == min(total, count)
    assert all(0 <= number < total for number in chosen)
    assert _different(b"a seed", total, count).tolist() == chosen
    if total > 20:
        assert _different(b"another", total, count).tolist() != chosen
