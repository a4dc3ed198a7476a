"""Metadata and filters for property tests, from few keys and values, so that they meet."""

from datetime import UTC, datetime
from random import Random

from hypothesis import strategies as st

from blindsight.wire.metadata import All, AnyOf, Comparison, GeoBox, Has, Not, Operator

SOME_KEYS = ["year", "place", "tags", "latitude", "longitude", "ünï.x:y-z"]
SOME_TEXTS = ["", "Rome", "rome", "Paris", "ro", 'a "quoted" \\ text', "é", "1"]
SOME_NUMBERS = [-180, -90, -1.5, 0, 1, 2, 2020, 2021.25, 45, 179, 1e300]
SOME_TIMES = [datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]
KEYS = st.sampled_from(SOME_KEYS)
TEXTS = st.sampled_from(SOME_TEXTS)
NUMBERS = st.sampled_from(SOME_NUMBERS)
TIMES = st.sampled_from(SOME_TIMES)
FLAGS = st.booleans()
LISTS = st.lists(TEXTS, max_size=3).map(tuple)
VALUES = st.one_of(TEXTS, NUMBERS, TIMES, FLAGS, LISTS)
METADATA = st.dictionaries(KEYS, VALUES, max_size=5)
ORDERED = [one for one in Operator if one is not Operator.MATCH]
COMPARISONS = st.one_of(
    st.builds(Comparison, KEYS, st.sampled_from(list(Operator)), TEXTS),
    st.builds(Comparison, KEYS, st.sampled_from(ORDERED), st.one_of(NUMBERS, TIMES)),
    st.builds(Comparison, KEYS, st.just(Operator.EQUAL), FLAGS),
)
BOXES = st.builds(
    GeoBox,
    st.sampled_from([-90, 0]),
    st.sampled_from([-180, 0, 179]),
    st.sampled_from([0, 45, 90]),
    st.sampled_from([-90, 1, 180]),
)
LEAVES = st.one_of(COMPARISONS, st.builds(Has, KEYS), BOXES)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


def drawn(count: int, seed: int) -> list[dict]:
    """Metadata of so many items, the same on every run."""
    random = Random(seed)
    kinds = [SOME_TEXTS, SOME_NUMBERS, SOME_TIMES, [True, False], [(), ("Rome",), ("ro", "é", "1")]]
    return [
        {key: random.choice(random.choice(kinds)) for key in SOME_KEYS if random.random() < 0.6}
        for _ in range(count)
    ]
