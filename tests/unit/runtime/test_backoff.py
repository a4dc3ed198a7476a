"""Pauses between attempts grow, are left to chance in part, and end with the time that a call is given."""

from __future__ import annotations

import pytest

from blindsight.runtime.backoff import Backoff


def test_a_pause_is_twice_as_long_as_the_one_before_up_to_the_longest() -> None:
    backoff = Backoff(first_seconds=0.5, longest_seconds=3, jitter=0)
    assert [backoff.pause() for _ in range(5)] == [0.5, 1, 2, 3, 3]


def test_after_a_success_pauses_and_time_begin_anew() -> None:
    backoff = Backoff(60, first_seconds=0.5, longest_seconds=3, jitter=0)
    assert [backoff.pause_in_time() for _ in range(2)] == [0.5, 1]
    assert backoff.left_seconds < 60
    backoff.reset()
    assert (backoff.left_seconds, backoff.pause_in_time()) == (60, 0.5)


@pytest.mark.parametrize("jitter", [0.5, 1])
def test_chance_takes_no_more_of_a_pause_than_it_is_given(jitter: float) -> None:
    pauses = [Backoff(first_seconds=1, jitter=jitter).pause() for _ in range(200)]
    assert 1 - jitter <= min(pauses) < max(pauses) <= 1
    assert len(set(pauses)) > 100


def test_a_first_pause_is_no_longer_than_the_longest() -> None:
    assert Backoff(first_seconds=5, longest_seconds=1, jitter=0).pause() == 1


def test_a_call_that_is_not_to_be_repeated_has_no_pause() -> None:
    backoff = Backoff(0)
    assert backoff.pause_in_time() is None
    assert backoff.left_seconds == 0


def test_no_pause_outlasts_the_time() -> None:
    backoff = Backoff(1, first_seconds=100, longest_seconds=100, jitter=0)
    assert backoff.pause_in_time() == pytest.approx(1)


def test_time_without_an_end_is_never_over() -> None:
    backoff = Backoff(longest_seconds=0.01)
    assert all(backoff.pause_in_time() is not None for _ in range(100))
