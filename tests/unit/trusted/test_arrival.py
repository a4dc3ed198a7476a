"""The clock of arrivals: no time twice, however fast it is asked and whoever sets the machine's clock."""

import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

from blindsight.trusted.ingest.arrival import Clock


def test_every_time_is_later_than_the_one_before_and_near_to_the_machines():
    clock = Clock()
    said = [clock.now() for _ in range(10_000)]
    assert said == sorted(set(said))
    assert abs(said[-1] / 1e6 - time.time()) < 5


def test_threads_are_told_no_time_twice():
    clock = Clock()
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(lambda _: clock.now(), range(5000)))
    assert len(set(said)) == 5000


def test_a_clock_that_is_set_back_does_not_go_back():
    clock = Clock()
    before = clock.now()
    with patch.object(time, "time_ns", lambda: 0):
        assert [clock.now(), clock.now()] == [before + 1, before + 2]
