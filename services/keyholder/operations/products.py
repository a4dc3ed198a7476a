"""Encrypted inner products of vectors that are in no collection: of a pair, or of two sets.

Nothing is stored, and all keys are made for one use.  The evaluator's answers are checked as a search's are:
each query against a random combination of all rows.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import Residues
from blindsight.errors import DataLoss
from blindsight.packing.columns import Floats
from blindsight.parameters import ParameterSet
from blindsight.ring.tiles import column_block
from blindsight.runtime.threads import Threads
from blindsight.runtime.transfer import answer_of
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.columns import checking, gallery, queries
from blindsight.trusted.columns.keys import ColumnKeys
from blindsight.trusted.columns.numbers import scaled
from blindsight.trusted.columns.queries import Cover, Query
from blindsight.trusted.schemes.sampling import KEY_BYTES
from blindsight.trusted.similarity.crossing import CrossLayout
from blindsight.wire.blocks import ProductsResult
from services.keyholder.alarms.alarms import Alarms
from services.keyholder.operations.query_groups import encrypt_columns, read_answers

# What an alarm calls vectors that are in no collection.
NO_COLLECTION = "vectors of no collection"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Row:
    """An encrypted group of rows, what opens its answers, and its factors in the check."""

    tiles: Residues
    cover: Cover
    gamma: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EncryptedRows:
    """Groups of rows, encrypted, with the check sums of all of them.

    Attributes:
        keys: with which they are encrypted.
        block: the groups, for the evaluator.
    """

    keys: ColumnKeys
    rows: Sequence[_Row]
    sums: Residues
    block: bytes


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EncryptedQueries:
    """Groups of queries, encrypted for the columns of some rows.

    Attributes:
        block: the groups, for the evaluator.
    """

    queries: Sequence[Query]
    block: bytes


@dataclass(frozen=True, slots=True)
class Multiplier:
    """Everything that products need beside their layout.

    Attributes:
        evaluator: computes them.
        threads: run the arithmetic of this side.
        alarms: are told of answers that are refused.
        key_id: id of the owner's key set.
    """

    evaluator: EvaluatorClient
    threads: Threads
    alarms: Alarms
    key_id: bytes

    def products(self, parameters: ParameterSet, layout: CrossLayout) -> Products:
        """Returns the products under a parameter set and a layout."""
        return Products(self, parameters, layout)


class Products:
    """Encrypted inner products under one layout.

    Args:
        multiplier: computes them.
        parameters: parameter set of a scheme that hides both sides.
        layout: of the groups of rows and queries.
    """

    def __init__(self, multiplier: Multiplier, parameters: ParameterSet, layout: CrossLayout) -> None:
        self._multiplier = multiplier
        self._threads = multiplier.threads
        self._parameters = parameters
        self._layout = layout
        self._spans = layout.layout.field_columns

    async def encrypt_rows(self, vectors: Floats) -> EncryptedRows:
        """Encrypts rows [count, row dimension], at least one, in groups."""
        random = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)
        keys = await self._threads.run(ColumnKeys.derive, self._parameters, *random, self._layout.columns)
        groups = _groups(vectors, self._layout.rows)
        rows = await asyncio.gather(*(self._threads.run(self._row, keys, group) for group in groups))
        sums = await self._threads.run(self._sums, rows)
        return EncryptedRows(keys, rows, sums, await self._block([row.tiles for row in rows]))

    def _row(self, keys: ColumnKeys, group: Floats) -> _Row:
        # Both sides have the same scale: with few rows their noise counts alike.
        scale = self._parameters.gallery_scale * self._parameters.pair_balance
        tiles, seed = gallery.encrypt(scaled(self._layout.pack_rows(group), scale), keys)
        held = queries.held(tiles, keys, self._spans)
        gamma = checking.random_factors(self._parameters)
        return _Row(tiles, Cover(held, gallery.common_polynomial(seed, self._parameters)), gamma)

    def _sums(self, rows: Sequence[_Row]) -> Residues:
        sums = checking.no_sums(self._parameters, self._layout.columns)
        for row in rows:
            checking.add_batch(sums, row.tiles, row.gamma, self._parameters)
        return sums

    async def _block(self, parts: Sequence[Residues]) -> bytes:
        key_id = self._multiplier.key_id
        return await self._threads.run(column_block, self._parameters, key_id, parts)

    async def encrypt_queries(self, rows: EncryptedRows, vectors: Floats) -> EncryptedQueries:
        """Encrypts queries [count, row dimension], at least one, in groups, for the columns of rows."""
        scale = self._parameters.query_scale / self._parameters.pair_balance

        async def encrypted(group: Floats) -> Query:
            messages = await self._threads.run(lambda: scaled(self._layout.pack_queries(group), scale))
            return await encrypt_columns(self._threads, rows.keys, messages.__getitem__, self._spans)

        made = await asyncio.gather(*map(encrypted, _groups(vectors, self._layout.queries)))
        return EncryptedQueries(made, await self._block([query.tiles for query in made]))

    async def multiply(
        self, rows: EncryptedRows, asked: EncryptedQueries, take: Callable[[ProductsResult, Floats], None]
    ) -> float:
        """Has all rows multiplied by all queries; when it returns, all products are right.

        Args:
            take: called with each message of answers, and its products
                [rows, queries, fields, vectors of a query, vectors of a row].

        Returns:
            The seconds of opening and checking.

        Raises:
            DataLoss: if the evaluator's answer is incomplete, or not the products of what was sent.
            Unavailable: if the evaluator does not answer.
        """
        opening = _Opening(self._parameters, self._layout, rows, asked)
        fields = [last - first for first, last in self._spans]
        fold, evaluator = self._layout.layout.fold, self._multiplier.evaluator
        with self._multiplier.alarms.watching(NO_COLLECTION), answer_of("the evaluator"):
            async with aclosing(evaluator.compare_all(rows.block, asked.block, fields, fold)) as results:
                async for result in results:
                    take(result, await self._threads.run(opening.open, result))
            await self._threads.run(opening.require_right)
        return opening.seconds


class _Opening:
    """The opening and the check of the answers of one call, message by message.

    Attributes:
        seconds: time that it took so far.
    """

    def __init__(
        self, parameters: ParameterSet, layout: CrossLayout, rows: EncryptedRows, asked: EncryptedQueries
    ) -> None:
        self._parameters, self._layout = parameters, layout
        self._rows, self._asked = rows, asked
        spans, fold = layout.layout.field_columns, layout.layout.fold
        self._checks = [checking.Check(query, spans, fold) for query in asked.queries]
        self._came = 0
        self.seconds = 0.0

    def open(self, result: ProductsResult) -> Floats:
        """Opens one message of answers: [rows, queries, fields, vectors of a query, vectors of a row].

        Raises:
            DataLoss: if they are not answers to what was sent.
        """
        started, parameters, layout = time.perf_counter(), self._parameters, self._layout
        rows = self._rows.rows[result.first_row : result.first_row + result.rows]
        asked = self._asked.queries[result.first_query : result.first_query + result.queries]
        if not (len(rows) == result.rows > 0 and len(asked) == result.queries > 0):
            raise DataLoss("the evaluator answered with products of what was not sent")
        answers = read_answers(result.answers, len(rows), len(asked), layout.layout, parameters)
        gammas = np.stack([row.gamma for row in rows])
        for number, check in enumerate(self._checks[result.first_query :][: len(asked)]):
            check.add_all(answers[:, number], gammas)
        self._came += len(rows) * len(asked)
        scale = parameters.gallery_scale * parameters.query_scale
        covers, opener = [row.cover for row in rows], queries.Opener.of(asked)
        opened = opener.open(answers, covers, scale, parameters.pair_grid)
        products = layout.scores(opened)
        self.seconds += time.perf_counter() - started
        return products

    def require_right(self) -> None:
        """Refuses answers that are not all products of what was sent.

        Raises:
            DataLoss: if they are not.
        """
        started, wanted = time.perf_counter(), len(self._rows.rows) * len(self._asked.queries)
        if self._came != wanted:
            raise DataLoss(f"the evaluator computed {self._came} products, want {wanted}")
        if not all(check.passes(self._rows.sums) for check in self._checks):
            raise DataLoss("the evaluator computed something else than the products of what was sent")
        self.seconds += time.perf_counter() - started


def _groups(vectors: Floats, size: int) -> list[Floats]:
    return [vectors[start : start + size] for start in range(0, len(vectors), size)]
