"""Groups of queries that are sent to the evaluator together, and the opening of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from blindsight.ciphertext.residues import Residues, prime_column
from blindsight.errors import DataLoss
from blindsight.packing.columns import CollectionLayout, Floats, Layout
from blindsight.packing.planes import Integers
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import AdditiveSet, ParameterSet
from blindsight.ring.tiles import block_parts
from blindsight.runtime.threads import Threads
from blindsight.runtime.transfer import Bytes
from blindsight.trusted.columns import checking, queries
from blindsight.trusted.columns.answer_key import AnswerKey, SegmentKey
from blindsight.trusted.columns.keys import CollectionKeys, ColumnKeys
from blindsight.trusted.columns.numbers import scaled
from blindsight.trusted.columns.queries import Query
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.wire.scores import ScorePlan, ScoreResult
from services.keyholder.galleries.answer_keys import AnswerKeys

# Columns that one thread encrypts at a time, some 1.5 ms.
_COLUMNS_AT_ONCE = 16


# Takes one message of answers, and their products [segments, queries, fields, capacity]; in several threads.
Take = Callable[[ScoreResult, Floats], None]


class QueryGroup(Protocol):
    """Queries that were sent together.

    Attributes:
        minimum_sequence: the answer must cover at least this much of the log.
    """

    minimum_sequence: int

    @property
    def parts(self) -> Sequence[Bytes]:
        """The queries, for the evaluator, in pieces."""

    async def begin(self, plan: ScorePlan) -> bool:
        """Prepares for the answers of a plan; returns whether they can be opened."""

    async def open(self, result: ScoreResult, take: Take) -> None:
        """Opens answers, and passes their products on in a thread.

        Raises:
            InvalidCiphertext, DataLoss: if they are not answers to these queries.
        """

    async def right(self) -> bool:
        """Returns whether the answers, which have all been opened, are what should have been computed."""


class PlainQueryGroup:
    """Queries in the clear, for a collection of an additive scheme.

    Args:
        crypto: decrypts the scores.
        threads: run what takes them.
        parameters, layout: of the collection.
        block: the queries.
        minimum_sequence: see `QueryGroup`.
    """

    def __init__(
        self,
        crypto: Crypto,
        threads: Threads,
        parameters: AdditiveSet,
        layout: CollectionLayout,
        block: bytes,
        minimum_sequence: int,
    ) -> None:
        self.parts: Sequence[Bytes] = (block,)
        self.minimum_sequence = minimum_sequence
        self._crypto, self._threads, self._parameters, self._layout = crypto, threads, parameters, layout

    async def begin(self, plan: ScorePlan) -> bool:  # noqa: ARG002 - answers need nothing but the key
        return True

    async def open(self, result: ScoreResult, take: Take) -> None:
        layout = self._layout.of(result.region)
        products = await self._crypto.decrypt_scores(self._parameters, layout, result.answers)
        shape = len(result.segments), result.queries, len(layout.fields), layout.capacity
        if products.size != np.prod(shape):
            raise DataLoss(f"{len(products)} results, want {' x '.join(map(str, shape[:3]))}")
        await self._threads.run(take, result, products.reshape(shape))

    async def right(self) -> bool:
        """Returns true: an additive scheme has no check."""
        return True


class EncryptedQueryGroup:
    """Encrypted queries, for a collection of a ring scheme, and what opens and checks their answers.

    Args:
        collection: the collection.
        layout: its layouts, with the regions that the queries are for.
        answer_keys: the answer keys of all collections.
        base: the collection's answer key when the queries were encrypted.
        threads: run the arithmetic.
        encrypted: [query][region] of the layout.
    """

    def __init__(
        self,
        collection: OpenCollection,
        layout: CollectionLayout,
        answer_keys: AnswerKeys,
        base: AnswerKey,
        threads: Threads,
        encrypted: Sequence[Sequence[Query]],
    ) -> None:
        self.minimum_sequence = base.sequence
        self._collection, self._layout = collection, layout
        self._keys = collection.column_keys
        self._answer_keys, self._base, self._threads = answer_keys, base, threads
        self._key = base
        self._queries = encrypted
        self._openers = {
            region: queries.Opener.of([of_query[index] for of_query in encrypted])
            for index, region in enumerate(layout.regions)
        }
        self._checks = self._no_checks()
        tiles = [query.tiles for of_query in encrypted for query in of_query]
        self.parts: Sequence[Bytes] = block_parts(self._keys.parameters, self._keys.key_id, tiles)

    @classmethod
    async def encrypt(
        cls,
        collection: OpenCollection,
        layout: CollectionLayout,
        answer_keys: AnswerKeys,
        base: AnswerKey,
        threads: Threads,
        forms: Floats,
    ) -> EncryptedQueryGroup:
        """Encrypts linear forms [queries, row dimension]."""
        keys = collection.column_keys
        encrypted = await asyncio.gather(
            *(
                asyncio.gather(*(encrypt_query(threads, keys, region, form) for region in layout.regions))
                for form in forms
            )
        )
        return cls(collection, layout, answer_keys, base, threads, encrypted)

    async def begin(self, plan: ScorePlan) -> bool:
        found = await self._answer_keys.at(self._collection, self._base, plan.sequence, plan.epoch)
        if found is None:
            return False
        self._key, self._checks = found, self._no_checks()
        return True

    def _no_checks(self) -> list[dict[Region, checking.Check]]:
        return [
            {
                region: checking.Check(query, *_shape(self._layout.of(region)))
                for region, query in zip(self._layout.regions, of_query, strict=True)
            }
            for of_query in self._queries
        ]

    def _segment_key(self, region: Region, index: int) -> SegmentKey:
        found = self._key.segments.get(SegmentId(region, index))
        if found is None:
            raise DataLoss(f"the evaluator scored segment {region.name} {index}, which the log does not have")
        return found

    async def open(self, result: ScoreResult, take: Take) -> None:
        await self._threads.run(lambda: take(result, self._opened(result)))

    def _opened(self, result: ScoreResult) -> Floats:
        parameters, region = self._keys.parameters, result.region
        layout, first, last = self._layout.of(region), result.first_query, result.first_query + result.queries
        answers = read_answers(result.answers, len(result.segments), result.queries, layout, parameters)
        keys = [self._segment_key(region, index) for index in result.segments]
        gammas = np.stack([key.gamma for key in keys])
        for number, of_query in enumerate(self._checks[first:last]):
            of_query[region].add_all(answers[:, number], gammas)
        scale = parameters.gallery_scale * parameters.query_scale
        opener = self._openers[region].part(first, last)
        return layout.scores(opener.open(answers, [key.cover for key in keys], scale, parameters.score_grid))

    async def right(self) -> bool:
        found = await asyncio.gather(
            *(
                self._threads.run(check.passes, self._key.sums[region])
                for of_query in self._checks
                for region, check in of_query.items()
                if region in self._key.sums
            )
        )
        return all(found)


def _shape(layout: Layout) -> tuple[tuple[tuple[int, int], ...], int]:
    return layout.field_columns, layout.fold


async def encrypt_query(threads: Threads, keys: CollectionKeys, region: Region, form: Floats) -> Query:
    """Encrypts a linear form [row dimension] for one region."""
    layout, scale = keys.layout.of(region), keys.parameters.query_scale
    column_keys = await threads.run(keys.of, region)
    values = scaled(form, scale)
    return await encrypt_columns(
        threads, column_keys, lambda chosen: layout.pack_query(values, chosen), layout.field_columns
    )


async def encrypt_columns(
    threads: Threads,
    keys: ColumnKeys,
    messages: Callable[[slice], Integers],
    fields: tuple[tuple[int, int], ...],
) -> Query:
    """Encrypts a query, some of its columns in each thread.

    Args:
        messages: returns the polynomials of some columns, [count, N].
    """
    draft = await threads.run(queries.Draft, keys)

    def encrypt(start: int) -> None:
        draft.encrypt(messages(slice(start, start + _COLUMNS_AT_ONCE)), start)

    await asyncio.gather(*(threads.run(encrypt, one) for one in range(0, keys.columns, _COLUMNS_AT_ONCE)))
    return await threads.run(draft.finish, fields)


def read_answers(data: bytes, rows: int, count: int, layout: Layout, parameters: ParameterSet) -> Residues:
    """Reads answers, uint32 [rows, queries, fields, primes, size].

    Raises:
        DataLoss: if they have another size, or a residue is not below its prime.
    """
    shape = rows, count, len(layout.fields), len(parameters.primes), layout.answer_size
    if len(data) != 4 * np.prod(shape):
        raise DataLoss(f"answers of {len(data)} bytes, want {' x '.join(map(str, shape))} residues")
    words = np.frombuffer(data, "<u4").reshape(shape)
    if (words >= prime_column(parameters)).any():
        raise DataLoss("answers with a residue that is not below its prime")
    return words
