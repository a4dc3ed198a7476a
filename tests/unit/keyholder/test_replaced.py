"""Metadata of replaced items in memory: found by version, and bounded in number and bytes."""

from blindsight.trusted.records import ItemMetadata
from services.keyholder.catalog.replaced import MOST_BYTES, MOST_ITEMS, Replaced


def handle(number):
    return number.to_bytes(16, "big")


def test_each_version_has_its_own_metadata():
    kept = Replaced()
    for version in (b"1", b"2"):
        kept.put(handle(0), version, ItemMetadata(f"version {version.decode()}"))
    assert [kept.get(handle(0), one) and kept.get(handle(0), one).id for one in (b"1", b"2", b"3")] == [
        "version 1",
        "version 2",
        None,
    ]
    assert kept.get(handle(1), b"1") is None


def test_the_oldest_go_when_they_are_too_many():
    kept = Replaced()
    for number in range(MOST_ITEMS + 2):
        kept.put(handle(number), b"", ItemMetadata("a"))
    there = [number for number in range(MOST_ITEMS + 2) if kept.get(handle(number), b"") is not None]
    assert there == list(range(2, MOST_ITEMS + 2))


def test_the_oldest_go_when_they_are_too_large():
    kept, large = Replaced(), ItemMetadata("a", values={"said": "x" * 16_000})
    most = MOST_BYTES // len(large.to_json())
    for number in range(2 * most):
        for _ in range(2):  # the same again takes no more
            kept.put(handle(number), b"", large)
    there = [number for number in range(2 * most) if kept.get(handle(number), b"") is not None]
    assert there == list(range(most, 2 * most))
