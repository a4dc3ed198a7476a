"""Both halves of a scheme in one process, joined by bytes as on the wire."""

from __future__ import annotations

import numpy as np

from blindsight.ciphertext import residues
from blindsight.ciphertext.residues import read_block
from blindsight.trusted import schemes
from services.evaluator.computing.kernel import Kernel
from services.evaluator.computing.schemes import Side
from services.evaluator.computing.tiles import add_seeded
from services.evaluator.geometry import Geometry


class Pair:
    """A keyholder's and an evaluator's half, and what goes between them."""

    def __init__(self, parameters, key_set):
        self.parameters = parameters
        self.key_id = key_set.key_id
        self.secret = schemes.load(parameters, key_set.secret_key(parameters.name))
        self.kernel = Kernel(threads=2)

    def block(self, layout, encrypted, side=Side.GALLERY):
        """An evaluator's block of what came over the wire, batches added up."""
        geometry = Geometry(self.parameters, layout.columns)
        block = np.zeros(geometry.shape, np.uint32)
        for one in encrypted:
            parsed = read_block(one.to_bytes(), self.parameters, self.key_id)
            add_seeded(block, parsed.residues, parsed.seeds, self.parameters, side=side)
        return block

    def encrypt_rows(self, layout, rows, first_slot=0):
        return self.secret.encrypt_gallery(layout.pack(rows, first_slot), self.key_id)

    def score(self, layout, segments, forms):
        """[segments, forms, capacity] inner products of rows that are one field."""
        return self.products(layout, segments, forms)[:, :, 0]

    def products(self, layout, segments, forms):
        """[segments, forms, fields, capacity] inner products."""
        encrypted = [self.secret.encrypt_query(layout.pack_query(form), self.key_id) for form in forms]
        query = np.stack([self.block(layout, [one], Side.QUERY) for one in encrypted])
        fields = layout.field_columns
        words = len(fields) * Geometry(self.parameters, layout.columns).score_words
        count = len(segments) * len(forms)
        out = np.zeros(count * words, np.uint32)
        offsets = np.arange(count, dtype=np.int64).reshape(len(segments), len(forms)) * words
        self.kernel.score(segments, query, self.parameters, fields, out, offsets)
        residues = out.reshape(-1, 3, len(self.parameters.primes), self.parameters.ring_degree)
        products = layout.scores(self.secret.decrypt_scores(residues))
        return products.reshape(len(segments), len(forms), len(fields), layout.capacity)

    def added(self, first, second):
        """The sum of two blocks: what appending does."""
        flat = [block.reshape(len(self.parameters.primes), -1) for block in (first, second)]
        return residues.add(*flat, self.parameters).reshape(first.shape)
