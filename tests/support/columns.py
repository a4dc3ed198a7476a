"""Both halves of a collection's columns in one process: what is stored, asked, answered and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.header import Form
from blindsight.ciphertext.residues import Residues
from blindsight.packing.columns import CollectionLayout, Floats, Layout
from blindsight.packing.planes import Integers
from blindsight.packing.segments import Placement, Region, SegmentId
from blindsight.parameters import ParameterSet
from blindsight.ring import columns, ntt
from blindsight.ring.tiles import Geometry, from_tiles, view_tiles
from blindsight.trusted.columns import batches, checking, queries
from blindsight.trusted.columns.answer_key import AnswerKey, Extension
from blindsight.trusted.columns.batches import Batch
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.columns.numbers import scaled
from blindsight.trusted.columns.queries import Query
from blindsight.trusted.secrets import Secret

KEY_ID = b"a key's sixteen."
FIRST, SECOND, THIRD = (SegmentId(Region.MAIN, index) for index in range(3))
Answers = dict[SegmentId, Residues]


def collection_keys(parameters: ParameterSet, layout: Layout, name: str = "collection") -> CollectionKeys:
    """The keys of a collection of a name, whose regions have one layout."""
    root = Secret(hashlib.sha256(repr((name, layout)).encode()).digest())
    return CollectionKeys(root, parameters, CollectionLayout(layout, layout), KEY_ID)


def unit_rows(count: int, dimension: int, seed: int = 3) -> Floats:
    rows = np.random.default_rng(seed).normal(size=(count, dimension))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def messages(parameters: ParameterSet, count: int, seed: int = 1) -> Integers:
    """Integers [count, N], as large as they may be in a collection."""
    largest = parameters.plain_modulus // 2 - 1 if parameters.plain_modulus else 2**26
    rng = np.random.default_rng(seed)
    return rng.integers(-largest, largest, (count, parameters.ring_degree), endpoint=True)


def composed(residues: Residues, parameters: ParameterSet) -> npt.NDArray[np.object_]:
    """Centred integers of residues [..., primes, N], as Python's."""
    modulus = parameters.modulus
    factors = [modulus // prime * pow(modulus // prime, -1, prime) for prime in parameters.primes]
    total = sum(residues[..., row, :].astype(object) * factor for row, factor in enumerate(factors))
    return (total + modulus // 2) % modulus - modulus // 2


def coefficients(residues: Residues, parameters: ParameterSet) -> npt.NDArray[np.object_]:
    """Centred integers of polynomials [count, primes, N] in NTT form."""
    found = residues.copy()
    ntt.inverse(found, parameters)
    return composed(found, parameters)


def noise_of(
    parameters: ParameterSet, tiles: Residues, common: Residues, each: Residues, given: Integers
) -> Integers:
    """The noise of columns m_j + e_j - common * each_j (tiles): by plain arithmetic, exact."""
    primes = np.array(parameters.primes, np.uint64)[:, None]
    uncovered = from_tiles(tiles, parameters) + common.astype(np.uint64) * from_tiles(each, parameters)
    phases = coefficients((uncovered % primes).astype(np.uint32), parameters)
    noise = phases - given.astype(object)
    step = parameters.plain_modulus or 1
    assert not (noise % step).any(), "noise is a multiple of t"
    return (noise // step).astype(np.int64)


@dataclass
class Gallery:
    """A collection's batches, and what opens and checks the answers about them."""

    keys: CollectionKeys
    key: AnswerKey = field(default_factory=AnswerKey)
    log: dict[SegmentId, list[tuple[Placement, bytes]]] = field(default_factory=dict)
    rows: dict[SegmentId, Floats] = field(default_factory=dict)

    @property
    def parameters(self) -> ParameterSet:
        return self.keys.parameters

    @property
    def layout(self) -> Layout:
        return self.keys.layout.main

    def written(self, segment: SegmentId, rows: Floats) -> tuple[Placement, bytes]:
        """The next batch of a segment, which is not added."""
        first = sum(place.count for place, _ in self.log.get(segment, []))
        place = Placement(segment.region, segment.index, first, len(rows))
        return place, batches.encrypt(rows, place, self.keys)

    def read(self, of: Iterable[tuple[Placement, bytes]]) -> list[Batch]:
        return [batches.read(block, place, self.keys) for place, block in of]

    def add(self, segment: SegmentId, rows: Floats) -> None:
        """Appends rows behind those that are in the segment."""
        one = self.written(segment, rows)
        extension = Extension(self.key, self.keys)
        extension.add(*self.read([one]))
        self.key = extension.finish(self.key.sequence + 1, self.key.epoch)
        self.log.setdefault(segment, []).append(one)
        self.rows[segment] = np.concatenate([self.rows.get(segment, rows[:0]), rows])

    def retire(self, segment: SegmentId) -> None:
        extension = Extension(self.key, self.keys)
        extension.retire(segment, self.read(self.log.pop(segment)))
        self.key = extension.finish(self.key.sequence + 1, self.key.epoch + 1)
        del self.rows[segment]

    def query(self, form: Floats) -> Query:
        packed = scaled(self.layout.pack_query(form), self.parameters.query_scale)
        return queries.encrypt(packed, self.keys.of(Region.MAIN), self.layout.field_columns)

    def block(self, of: Iterable[tuple[Placement, bytes]]) -> Residues:
        """What the evaluator makes of batches."""
        block = np.zeros(Geometry(self.parameters, self.layout.columns).shape, np.uint32)
        for _, data in of:
            batch = view_tiles(data, self.parameters, self.keys.key_id, Form.BATCH, self.layout.columns)[0]
            columns.add(block, batch, self.parameters)
        return block

    def answer(self, query: Query, block: Residues) -> Residues:
        """The evaluator's answer about one segment: [fields, primes, size]."""
        fields, fold = self.layout.field_columns, self.layout.fold
        return columns.products(block, query.tiles, self.parameters, fields, fold)

    def answers(self, query: Query) -> Answers:
        return {segment: self.answer(query, self.block(of)) for segment, of in self.log.items()}

    def opened(
        self, query: Query, segment: SegmentId, answer: Residues, key: AnswerKey | None = None
    ) -> Integers:
        """The products of a segment as integers: [fields, capacity]."""
        held = (key or self.key).segments[segment]
        return self.layout.scores(queries.open_answer(answer, held.cover, query))

    def scores(self, query: Query) -> dict[SegmentId, Floats]:
        """The products of all rows, rounded as the keyholder does: [fields, rows] by segment."""
        scale, grid = self.parameters.gallery_scale * self.parameters.query_scale, self.parameters.score_grid
        found = {}
        for segment, answer in self.answers(query).items():
            products = self.opened(query, segment, answer)[:, : len(self.rows[segment])]
            found[segment] = np.rint(products / (scale * grid)) * grid
        return found

    def passes(
        self, query: Query, answers: Mapping[SegmentId, Residues], key: AnswerKey | None = None
    ) -> bool:
        """Whether the check lets answers pass."""
        check = checking.Check(query, self.layout.field_columns, self.layout.fold)
        for segment, answer in answers.items():
            gamma = checking.factors(self.keys.fixed("check"), segment, self.parameters)
            check.add(answer, gamma)
        return check.passes((key or self.key).sums[Region.MAIN])
