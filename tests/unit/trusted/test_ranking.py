"""Which scores count as the best."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blindsight.trusted.similarity.linear import Affine
from blindsight.trusted.similarity.ranking import Ranking, best_of

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


def reading(largest):
    return Affine(higher_is_better=largest, multiplier=-0.5 if not largest else 2.0, offset=1.0)


def names(count, start=0):
    """As many 16-byte names, all different."""
    made = np.zeros((count, 2), np.uint64)
    made[:, 0] = np.arange(start, start + count) + 1
    return made.view("V16").reshape(-1)


def numbers(of):
    return [int.from_bytes(name.tobytes()[:8], "little") - 1 for name in of]


SEGMENT = st.tuples(
    arrays.arrays(np.float64, 20, elements=st.floats(-2, 2, width=16)),
    arrays.arrays(np.bool_, st.integers(0, 20)),
)


@given(st.lists(SEGMENT, max_size=6), st.integers(1, 30), st.booleans(), st.randoms(use_true_random=False))
def test_a_ranking_is_that_of_all_segments_together_in_whatever_order_they_come(segments, k, largest, order):
    ranking = Ranking(reading(largest), k)
    everything = []
    for place, (products, live) in enumerate(segments):
        scores = reading(largest).scores(products[None, : len(live)].T)
        everything += [(score, 100 * place + slot) for slot, score in enumerate(scores) if live[slot]]
    places = list(range(len(segments)))
    order.shuffle(places)
    for place in places:
        products, live = segments[place]
        ranking.add(products[None, None], [(live, names(len(live), 100 * place), None)])
    best = ranking.best()
    ordered = sorted((score for score, _ in everything), reverse=largest)[:k]
    np.testing.assert_array_equal(best.scores, ordered)
    # Each with its own name, and none twice.
    found = list(zip(best.scores.tolist(), numbers(best.names), strict=True))
    assert set(found) <= {(float(score), number) for score, number in everything}
    assert len(set(found)) == len(found)


def test_only_slots_with_an_item_are_ranked():
    ranking = Ranking(reading(largest=True), 10)
    live = np.array([True, False, True, True, False])
    products = np.tile(np.arange(8.0), (2, 1, 1))
    ranking.add(products, [(live, names(5), None), (live[:3], names(3, 10), None)])
    assert sorted(numbers(ranking.best().names)) == [0, 2, 3, 10, 12]


@pytest.mark.parametrize("largest", [True, False])
def test_segments_without_items_give_nothing(largest):
    ranking = Ranking(reading(largest), 3)
    assert len(ranking.best().scores) == 0
    ranking.add(
        np.ones((2, 1, 8)), [(np.zeros(0, bool), names(0), None), (np.zeros(5, bool), names(5), None)]
    )
    ranking.add(np.ones((1, 1, 8)), [(np.zeros(5, bool), names(5), None)])
    best = ranking.best()
    assert best.scores.size == best.names.size == len(best.parts) == 0


def test_segments_that_come_from_several_threads_are_all_ranked():
    ranking = Ranking(reading(largest=True), 50)
    products = np.random.default_rng(1).normal(size=(100, 2, 1, 64))
    live = np.ones(64, bool)

    def add(place):
        segments = [(live, names(64, 64 * (2 * place + index)), None) for index in range(2)]
        ranking.add(products[place], segments)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(100)))
    wanted = np.argsort(-products.reshape(-1), kind="stable")[:50]
    assert numbers(ranking.best().names) == wanted.tolist()


@given(st.lists(SEGMENT, max_size=6), st.integers(1, 30), st.booleans(), st.integers(1, 12), st.data())
def test_of_the_rows_of_a_group_the_best_counts(segments, k, largest, groups, data):
    ranking, best_of_group = Ranking(reading(largest), k), {}
    for place, (products, live) in enumerate(segments):
        alone = data.draw(st.booleans())  # its rows are groups of their own, whatever the other segments' are
        scores = reading(largest).scores(products[None, : len(live)].T)
        words = names(len(live), 1000 + 100 * place).view(np.uint64)[::2]
        if not alone:
            words = np.array(data.draw(arrays.arrays(np.uint64, len(live), elements=st.integers(1, groups))))
        for score, word, there in zip(scores.tolist(), words.tolist(), live, strict=True):
            if there:
                better = max if largest else min
                best_of_group[word] = better(score, best_of_group.get(word, score))
        named = names(len(live), 1000 + 100 * place)
        ranking.add(products[None, None], [(live, named, None if alone else words)])
    ordered = sorted(best_of_group.values(), reverse=largest)[:k]
    np.testing.assert_array_equal(ranking.best().scores, ordered)
