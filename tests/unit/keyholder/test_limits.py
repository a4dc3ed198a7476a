"""Rates of calls, and budgets of queries that a restart does not renew."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from blindsight.errors import Busy, ResourceExhausted
from blindsight.runtime import status
from services.keyholder.limits.budgets import _AHEAD, FILE_NAME, Budgets
from services.keyholder.limits.rates import Rates

NOON = 20_000 * 86_400 + 43_200.0


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(call: Callable[[], object], tries: int) -> int:
    """How many of some tries succeed."""
    done = 0
    for _ in range(tries):
        try:
            call()
        except ResourceExhausted:
            continue
        done += 1
    return done


@pytest.mark.parametrize(("rate", "burst", "most"), [(5.0, None, 5), (0.5, None, 1), (2.0, 10, 10)])
def test_a_burst_and_then_the_rate(clock: Clock, rate: float, burst: int | None, most: int) -> None:
    rates = Rates(clock)
    assert taken(lambda: rates.take("a", rate, burst), 50) == most
    assert taken(lambda: rates.take("b", rate, burst), 50) == most
    clock.now += 4 / rate + 1e-3
    assert taken(lambda: rates.take("a", rate, burst), 50) == min(4, most)
    clock.now += 1e6
    assert taken(lambda: rates.take("a", rate, burst), 50) == most


def test_a_refusal_says_when_to_come_again(clock: Clock) -> None:
    rates = Rates(clock)
    rates.take("a", 0.5)
    with pytest.raises(Busy, match=r"more than 0.5 requests a second, want the next one in 2.0 s") as refused:
        rates.take("a", 0.5)
    (_, retry) = status.to_status(refused.value).details
    assert b"RetryInfo" in retry.type_url.encode()
    assert retry.value == b"\n\x02\x08\x02"  # 2 s
    clock.now += 2.0
    rates.take("a", 0.5)


def test_a_day_has_so_many_queries_and_the_next_as_many(tmp_path: Path, clock: Clock) -> None:
    with closing(Budgets(tmp_path / FILE_NAME, clock)) as budgets:
        budgets.take("a", 90, 100)
        budgets.take("b", 100, 100)
        said = (
            r"90 of 100 queries of this day are used and 11 more came, want them from 2024-10-05 00:00 UTC on"
        )
        with pytest.raises(ResourceExhausted, match=said) as refused:
            budgets.take("a", 11, 100)
        assert refused.value.metadata["retry_seconds"] == "43200.0"
        budgets.take("a", 10, 100)
        assert budgets.used("a") == 100
        clock.now = NOON + 43_199.9
        assert taken(lambda: budgets.take("a", 1, 100), 5) == 0
        clock.now = NOON + 43_200
        assert budgets.used("a") == 0
        budgets.take("a", 100, 100)


def test_what_has_no_budget_is_counted_all_the_same(tmp_path: Path, clock: Clock) -> None:
    with closing(Budgets(tmp_path / FILE_NAME, clock)) as budgets:
        for _ in range(1000):
            budgets.take("a", 7, None)
        assert budgets.used("a") == 7000


def test_an_orderly_restart_counts_exactly(tmp_path: Path, clock: Clock) -> None:
    for number in range(3):
        with closing(Budgets(tmp_path / FILE_NAME, clock)) as budgets:
            assert budgets.used("a") == number
            budgets.take("a", 1, 3)
    with closing(Budgets(tmp_path / FILE_NAME, clock)) as budgets, pytest.raises(ResourceExhausted):
        budgets.take("a", 1, 3)


def test_a_crash_gives_nobody_a_query_back(tmp_path: Path, clock: Clock) -> None:
    used = 0
    for _ in range(5):
        budgets = Budgets(tmp_path / FILE_NAME, clock)  # and none of them is closed
        assert used <= budgets.used("a") <= used + _AHEAD
        used = budgets.used("a")
        used += taken(lambda: budgets.take("a", 1, 300), 70)  # noqa: B023 - in this round
    assert used == 300
    with closing(Budgets(tmp_path / FILE_NAME, clock)) as budgets:
        assert taken(lambda: budgets.take("a", 1, 300), 10) == 0


def test_what_is_forgotten_is_not_on_the_disk(tmp_path: Path, clock: Clock) -> None:
    with closing(Budgets(tmp_path / FILE_NAME, clock)) as budgets:
        budgets.take("a", 5, None)
        budgets.forget("a")
    with closing(Budgets(tmp_path / FILE_NAME, clock)) as budgets:
        assert budgets.used("a") == 0
