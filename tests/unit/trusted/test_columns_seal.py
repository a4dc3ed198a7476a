"""Columns and SEAL: it decrypts what we encrypt, and we read what it encrypts, for every parameter set.

A batch's column is an ordinary ciphertext (b_j, a) under the secret s_j, and a query's is (v_j, u_j) under t:
of CKKS, or of BGV where the set is one of BFV, because its columns have the form m + t e.
"""

from __future__ import annotations

import numpy as np
import pytest
from support import seal
from support.columns import coefficients, messages

from blindsight.parameters import PARAMETER_SETS
from blindsight.ring import prng
from blindsight.ring.tiles import from_tiles, to_tiles
from blindsight.trusted.columns import gallery, queries
from blindsight.trusted.columns.keys import ColumnKeys
from blindsight.trusted.schemes.sampling import NOISE_BITS

COLUMNS = 3


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def parameters(request):
    return request.param


@pytest.fixture(scope="module")
def keys(parameters):
    return ColumnKeys.derive(parameters, b"a secret".ljust(32), b"anybody".ljust(32), COLUMNS)


@pytest.fixture(scope="module")
def secrets(parameters, keys):
    """Each column's secret as SEAL's."""
    ternary = coefficients(from_tiles(keys.secrets, parameters), parameters).astype(np.int64)
    return [seal.secret_key(parameters, values) for values in ternary]


def assert_decrypted(parameters, found, given):
    """A message comes back as it was under BGV, and with its noise under CKKS."""
    most = 0 if parameters.plain_modulus else NOISE_BITS
    assert np.abs(found - given).max() <= most


def test_seal_decrypts_every_column_of_a_batch_to_what_we_do(parameters, keys, secrets):
    given = messages(parameters, COLUMNS)
    tiles, seed = gallery.encrypt(given, keys)
    common = gallery.common_polynomial(seed, parameters)
    ours = gallery.decrypt([(tiles, seed)], keys)
    for place, (secret, column) in enumerate(zip(secrets, from_tiles(tiles, parameters), strict=True)):
        found = seal.decrypt(parameters, secret, np.stack([column, common]))
        assert_decrypted(parameters, found, given[place])
        np.testing.assert_array_equal(found, ours[place])


def test_seal_decrypts_the_sum_of_batches(parameters, keys, secrets):
    given = [messages(parameters, COLUMNS, seed) // 8 for seed in range(5)]
    written = [gallery.encrypt(one, keys) for one in given]
    total = np.zeros((COLUMNS, 2, len(parameters.primes), parameters.ring_degree), np.uint32)
    for tiles, seed in written:
        common = np.broadcast_to(gallery.common_polynomial(seed, parameters), total[:, 1].shape)
        total = gallery.sum_of(total, np.stack([from_tiles(tiles, parameters), common], axis=1), parameters)
    ours = gallery.decrypt(written, keys)
    assert np.abs(ours - sum(given)).max() <= (0 if parameters.plain_modulus else 5 * NOISE_BITS)
    for place, secret in enumerate(secrets):
        np.testing.assert_array_equal(seal.decrypt(parameters, secret, total[place]), ours[place])


def test_a_column_does_not_open_under_the_secret_of_another(parameters, keys, secrets):
    given = messages(parameters, COLUMNS)
    tiles, seed = gallery.encrypt(given, keys)
    first = np.stack([from_tiles(tiles, parameters)[0], gallery.common_polynomial(seed, parameters)])
    found = seal.decrypt(parameters, secrets[1], first)
    assert np.mean(np.abs(found - given[0]) <= NOISE_BITS) < 0.01


def test_seal_decrypts_every_column_of_a_query(parameters, keys):
    given = messages(parameters, COLUMNS)
    query = queries.encrypt(given, keys, ((0, COLUMNS),))
    ternary = coefficients(query.secret.residues[None], parameters)[0].astype(np.int64)
    secret = seal.secret_key(parameters, ternary)
    pairs = zip(from_tiles(query.tiles, parameters), from_tiles(keys.masks, parameters), given, strict=True)
    for column, mask, wanted in pairs:
        assert_decrypted(parameters, seal.decrypt(parameters, secret, np.stack([column, mask])), wanted)


def test_we_read_what_seal_encrypts(parameters, keys, secrets, monkeypatch):
    given = messages(parameters, COLUMNS)
    sent = given % parameters.plain_modulus if parameters.plain_modulus else given
    # SEAL's seed stands for what its own generator makes of it; all the rest is ours.
    monkeypatch.setattr(
        gallery,
        "common_polynomial",
        lambda seed, parameters: prng.expand(np.frombuffer(seed, np.uint8)[None], parameters)[0],
    )
    for place, secret in enumerate(secrets):
        residues, seed = seal.encrypt(parameters, secret, sent[place])
        column = slice(place, place + 1)
        of_column = ColumnKeys(parameters, keys.secrets[:, column].copy(), keys.masks[:, column].copy())
        found = gallery.decrypt([(to_tiles(residues[None]), seed)], of_column)
        assert_decrypted(parameters, found[0], given[place])
