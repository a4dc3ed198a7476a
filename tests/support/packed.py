"""Both halves of a collection under an additive scheme in one process, joined by bytes as on the wire."""

from __future__ import annotations

import numpy as np

from blindsight.additive.query import read_queries
from blindsight.ciphertext.header import ADDITIVE_HEADER, additive_header
from blindsight.trusted.additive import AdditiveKey, packed
from services.evaluator import tasks
from services.evaluator.computing.additive import inner_products


class PackedPair:
    """A keyholder's and an evaluator's half, and what goes between them."""

    def __init__(self, parameters, key_id):
        self.parameters = parameters
        self.key_id = key_id
        self.key = AdditiveKey.from_secret(packed.generate_secret_key(parameters, key_id))

    def block(self, numbers):
        count = len(numbers) // self.parameters.number_bytes
        return additive_header(self.parameters, self.key_id, count) + numbers

    def encrypt_rows(self, layout, rows, first_slot=0):
        return self.block(packed.encrypt(self.key, self.parameters, layout.pack(rows, first_slot)))

    def query(self, layout, forms):
        return packed.plain_queries(self.key, self.parameters, layout, forms)

    def fold(self, batches):
        """The sum of batches, as a block."""
        public_key = self.key.public_key.to_bytes()
        return self.block(inner_products.add_batches(tasks.AddBatches(public_key, tuple(batches))))

    def products(self, layout, batches, forms):
        """[forms, fields, capacity] inner products."""
        parameters, key_id = self.parameters, self.key_id
        queries = read_queries(self.query(layout, forms), len(forms), layout, parameters, key_id)
        numbers = self.fold(batches)[ADDITIVE_HEADER.size :]
        size, found = parameters.number_bytes, []
        for first, last in layout.field_columns:
            block = self.block(numbers[first * size : last * size])
            found.append(self.weighed(block, queries.weights[:, first:last].tolist()))
        return np.stack(found, axis=1)

    def weighed(self, block, weights):
        """[queries, capacity] sums of the columns of one field under weights [queries][columns]."""
        task = tasks.InnerProducts(self.key.public_key.to_bytes(), block, tuple(map(tuple, weights)))
        results = inner_products.inner_products(task)
        header = additive_header(self.parameters, self.key_id, len(results), self.parameters.most_growth)
        return packed.decrypt_scores(self.key, self.parameters, header + b"".join(results))

    def scores(self, layout, batches, forms):
        """[forms, capacity] inner products of rows that are one field."""
        return self.products(layout, batches, forms)[:, 0]
