"""Answers about vectors of no collection: what is none, is refused before it is opened."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from support.columns import KEY_ID

from blindsight.errors import DataLoss
from blindsight.parameters import PARAMETER_SETS
from blindsight.ring.columns import products
from blindsight.runtime.threads import Threads
from blindsight.trusted.similarity.crossing import CrossLayout
from blindsight.wire.blocks import ProductsResult
from services.keyholder.alarms.alarms import Alarms
from services.keyholder.operations.products import NO_COLLECTION, Multiplier
from services.keyholder.operations.query_groups import read_answers

RNG = np.random.default_rng(8)


@pytest.fixture(scope="module")
def threads():
    made = Threads(2, "test")
    yield made
    made.close()


class Evaluator:
    """Multiplies what it is given, as the evaluator does, and answers as a test wants it."""

    def __init__(self, parameters, answer=lambda results: results):
        self._parameters, self._answer = parameters, answer

    def asked(self, rows, queries):
        """What was sent, of which the blocks are made."""
        self._rows, self._queries = rows, queries
        return self

    async def compare_all(self, gallery, queries, fields, fold):
        assert gallery == self._rows.block
        assert queries == self._queries.block
        spans, begin = [], 0
        for width in fields:
            spans.append((begin, begin + width))
            begin += width
        results = [
            ProductsResult(
                i, 1, j, 1, products(row.tiles, query.tiles, self._parameters, spans, fold).tobytes()
            )
            for i, row in enumerate(self._rows.rows)
            for j, query in enumerate(self._queries.queries)
        ]
        for one in self._answer(results):
            yield one


def multiplied(threads, parameters, answer=lambda results: results, rows=5, queries=7):
    """Inner products of some vectors, and the alarms."""
    layout = CrossLayout((24,), 32, rows=2, queries=parameters.ring_degree // 64)
    evaluator, alarms = Evaluator(parameters, answer), Alarms()
    multiplier = Multiplier(evaluator, threads, alarms, KEY_ID)
    gallery, asked = RNG.normal(size=(rows, 24)) / 5, RNG.normal(size=(queries, 24)) / 5
    found = np.zeros((queries, rows))

    def take(result, values):
        count = min(2, rows - 2 * result.first_row)
        place = slice(2 * result.first_row, 2 * result.first_row + count)
        found[:, place] = values[0, 0, 0, :queries, :count]

    async def run():
        made = multiplier.products(parameters, layout)
        encrypted = await made.encrypt_rows(gallery)
        wanted = await made.encrypt_queries(encrypted, asked)
        evaluator.asked(encrypted, wanted)
        await made.multiply(encrypted, wanted, take)

    return SimpleNamespace(run=lambda: asyncio.run(run()), found=found, true=asked @ gallery.T, alarms=alarms)


@pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=PARAMETER_SETS)
def test_all_products_come_from_the_answers(threads, parameters):
    made = multiplied(threads, parameters)
    made.run()
    np.testing.assert_allclose(made.found, made.true, atol=3e-4)
    assert made.alarms.text() == ""


def changed(results, **fields):
    first = results[0]
    values = {name: getattr(first, name) for name in first.__dataclass_fields__} | fields
    return [ProductsResult(**values), *results[1:]]


def too_large(results):
    words = np.frombuffer(results[0].answers, np.uint32).copy()
    words[-1] = 2**32 - 1
    return changed(results, answers=words.tobytes())


LIES = {
    "none": lambda results: [],
    "one less": lambda results: results[:-1],
    "one twice": lambda results: [*results, results[-1]],
    "one in place of another": lambda results: [results[1], *results[1:]],
    "two exchanged": lambda results: [
        *changed(results, answers=results[1].answers)[:1],
        ProductsResult(1, 1, 0, 1, results[0].answers),
        *results[2:],
    ],
    "rows that were not sent": lambda results: changed(results, first_row=3),
    "queries that were not sent": lambda results: changed(results, first_query=1),
    "no rows": lambda results: changed(results, rows=0, answers=b""),
    "half an answer": lambda results: changed(results, answers=results[0].answers[:-4]),
    "no bytes": lambda results: changed(results, answers=b""),
    "a residue over its prime": too_large,
}


@pytest.mark.parametrize("lie", LIES)
def test_answers_that_are_not_all_products_once_are_refused(threads, lie):
    made = multiplied(threads, PARAMETER_SETS["ckks-4096"], LIES[lie])
    with pytest.raises(DataLoss):
        made.run()
    assert NO_COLLECTION in made.alarms.text()


def test_answers_of_another_size_are_refused():
    parameters = PARAMETER_SETS["ckks-4096"]
    layout = CrossLayout((24,), 32, 2, 64).layout
    size = 4 * len(parameters.primes) * layout.answer_size
    assert read_answers(bytes(6 * size), 2, 3, layout, parameters).shape == (2, 3, 1, 2, 128)
    for wrong in (0, 6 * size - 4, 6 * size + 4, 5 * size):
        with pytest.raises(DataLoss, match="residues"):
            read_answers(bytes(wrong), 2, 3, layout, parameters)
