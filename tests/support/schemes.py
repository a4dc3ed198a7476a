"""Both halves of a scheme in one process, joined by bytes as on the wire."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from blindsight.ciphertext.header import Form
from blindsight.packing.columns import CollectionLayout
from blindsight.packing.segments import Placement, Region, SegmentId
from blindsight.ring import columns
from blindsight.ring.tiles import Geometry, column_block, view_tiles
from blindsight.trusted import schemes
from blindsight.trusted.columns import batches, checking, queries
from blindsight.trusted.columns.answer_key import AnswerKey, Extension
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.columns.numbers import scaled
from blindsight.trusted.secrets import Secret
from services.evaluator.computing.kernel import Kernel


@dataclass(frozen=True)
class Written:
    """A batch as storage has it: its place and its block."""

    place: Placement
    block: bytes


class Pair:
    """A keyholder's and an evaluator's half, and what goes between them.

    Both regions have the layout of the call; each layout is a collection of its own.
    """

    def __init__(self, parameters, key_set):
        self.parameters = parameters
        self.key_id = key_set.key_id
        self.secret = schemes.load(parameters, key_set.secret_key(parameters.name))
        self.kernel = Kernel(threads=2)

    def keys(self, layout):
        """The keys of the collection of a layout."""
        root = hashlib.sha256(self.key_id + repr((self.parameters.name, layout)).encode()).digest()
        return CollectionKeys(Secret(root), self.parameters, CollectionLayout(layout, layout), self.key_id)

    def encrypt_rows(self, layout, rows, first_slot=0, segment=0):
        """A batch of rows for slots of a MAIN segment."""
        place = Placement(Region.MAIN, segment, first_slot, len(rows))
        return Written(place, batches.encrypt(rows, place, self.keys(layout)))

    def decrypt_rows(self, layout, written):
        """Rows [capacity, dimension] of a segment from all of its batches."""
        blocks = [(one.place, one.block) for one in written]
        return batches.decrypt(blocks, Region.MAIN, self.keys(layout))

    def answer_key(self, layout, segments):
        """What opens and checks answers of segments, each a list of batches."""
        keys = self.keys(layout)
        extension = Extension(AnswerKey(), keys)
        for one in (one for segment in segments for one in segment):
            extension.add(batches.read(one.block, one.place, keys))
        return extension.finish(1, 0)

    def block(self, layout, written):
        """The evaluator's block of a segment, batches added up."""
        block = np.zeros(Geometry(self.parameters, layout.columns).shape, np.uint32)
        for one in written:
            batch = view_tiles(one.block, self.parameters, self.key_id, Form.BATCH, layout.columns)[0]
            columns.require_below_primes(batch, self.parameters)
            columns.add(block, batch, self.parameters)
        return block

    def multiply(self, layout, blocks, sent):
        """The evaluator's answers [segments, queries, fields, primes, size] to a block of queries."""
        tiles = view_tiles(sent, self.parameters, self.key_id, Form.COLUMNS, layout.columns)
        primes, fields = len(self.parameters.primes), layout.field_columns
        out = np.zeros((len(blocks), len(tiles), len(fields), primes, layout.answer_size), np.uint32)
        words = out[0, 0].size
        offsets = np.arange(len(blocks) * len(tiles), dtype=np.int64).reshape(len(blocks), -1) * words
        self.kernel.multiply(
            blocks, list(tiles), self.parameters, fields, layout.fold, out.reshape(-1), offsets
        )
        return out

    def encrypt_query(self, layout, form):
        messages = scaled(layout.pack_query(form), self.parameters.query_scale)
        return queries.encrypt(messages, self.keys(layout).of(Region.MAIN), layout.field_columns)

    def products(self, layout, segments, forms, grid=0.0):
        """[segments, forms, fields, capacity] inner products; the check of every query must pass.

        Args:
            segments: the batches of each.
            grid: to which products are rounded; 0: the parameter set's of scores.
        """
        key = self.answer_key(layout, segments)
        asked = [self.encrypt_query(layout, form) for form in forms]
        sent = column_block(self.parameters, self.key_id, [query.tiles for query in asked])
        answers = self.multiply(layout, [self.block(layout, written) for written in segments], sent)
        answers.flags.writeable = False  # as what comes from the evaluator
        opened = np.empty((len(segments), len(forms), len(layout.fields), layout.capacity))
        for place, query in enumerate(asked):
            check = checking.Check(query, layout.field_columns, layout.fold)
            for row, written in enumerate(segments):
                segment, answer = written[0].place.segment, answers[row, place]
                check.add(answer, self.gamma(layout, segment))
                held = key.segments[segment]
                values = queries.open_answer(answer, held.cover, query)
                opened[row, place] = layout.scores(values.astype(np.float64))
            assert check.passes(key.sums[Region.MAIN])
        grid = grid or self.parameters.score_grid
        scale = self.parameters.gallery_scale * self.parameters.query_scale
        return np.rint(opened / (scale * grid)) * grid

    def gamma(self, layout, segment: SegmentId):
        """A segment's factors in the check."""
        return checking.factors(self.keys(layout).fixed("check"), segment, self.parameters)

    def score(self, layout, segments, forms):
        """[segments, forms, capacity] inner products of rows that are one field."""
        return self.products(layout, segments, forms)[:, :, 0]
