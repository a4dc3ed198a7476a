"""Makes the compiled code of this package ready, by one small use of all of it."""

from __future__ import annotations

import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import ParameterSet
from blindsight.ring.columns import products
from blindsight.trusted.columns import checking, gallery, queries
from blindsight.trusted.columns.keys import ColumnKeys
from blindsight.trusted.secrets import Secret


def compile_all(parameters: ParameterSet) -> None:
    """Compiles this package's functions, or loads them from numba's cache.

    numba compiles for each kind of array: what was computed here can be written to, what came over the wire
    or from the disk cannot.  Answers about one field and about several have different strides in the check.
    """
    keys = ColumnKeys.derive(parameters, bytes(32), bytes(32), 2)
    messages = np.zeros((2, parameters.ring_degree), np.int64)
    written, seed = gallery.encrypt(messages, keys)
    for fields in (((0, 2),), ((0, 1), (1, 2))):
        query = queries.encrypt(messages, keys, fields)
        held, common = queries.held(written, keys, fields), gallery.common_polynomial(seed, parameters)
        answer = _received(products(written, query.tiles, parameters, fields))
        cover = queries.Cover(held, common)
        queries.open_answer(answer, cover, query)
        several, opener = np.stack([answer, answer])[:, None], queries.Opener.of([query, query])
        opener.part(0, 1).open(_received(several), [cover, cover], 1.0, 1.0)
        gamma = checking.factors(Secret(bytes(32)), SegmentId(Region.MAIN, 0), parameters)
        sums = checking.no_sums(parameters, 2)
        for tiles in (written, _received(written)):
            gallery.decrypt([(tiles, seed)], keys)
            checking.add_batch(sums, tiles, gamma, parameters)
        check = checking.Check(query, fields, 1)
        check.add(answer, gamma)
        check.add_all(_received(several)[:, 0], np.stack([gamma, gamma]))
        check.passes(sums)


def _received(array: Residues) -> Residues:
    """Returns an array as if it had come from elsewhere."""
    view = array.view()
    view.flags.writeable = False
    return view
