"""Parsers that face the untrusted zone or a client are given anything: what they do not take, they refuse."""

import random

import pytest
from support.fuzz import corpus, tried
from support.fuzz.targets import targets

RUNS = 150


@pytest.mark.parametrize("name", sorted(targets()))
def test_anything_is_read_or_refused(name: str) -> None:
    target, luck = targets()[name], random.Random(name)
    for case in corpus().get(name, []):
        tried(target, case)
    for _ in range(RUNS):
        tried(target, luck.randbytes(luck.randrange(200)))


def test_most_records_are_both_read_and_refused() -> None:
    """What is drawn is neither all right nor all wrong: else nothing would be tried."""
    luck = random.Random(1)
    cases = [b"\1" + luck.randbytes(200) for _ in range(200)]
    taken = {name: sum(tried(target, case) for case in cases) for name, target in targets().items()}
    both = [name for name, count in taken.items() if 0 < count < len(cases)]
    assert len(both) > 30, taken
