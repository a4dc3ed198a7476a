"""Writes tests/vectors/*.json: `python tools/vectors.py`.

It follows docs/wire-format.md and imports nothing of `blindsight` or `services`: two independent
implementations of a format check each other.  Long runs of bytes are SHAKE-256 of a label, to keep the files
readable.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "vectors"
KEY_ID = bytes(range(16))
SEEDED, FULL, BATCH, COLUMNS = 1, 2, 3, 4
TILE = 32

Vector = dict[str, Any]
Integers = npt.NDArray[np.int64]


class Set(NamedTuple):
    """A parameter set: a row of the page's first table."""

    number: int
    scheme: int
    degree: int
    primes: tuple[int, ...]
    plain: int
    row_scale: int
    query_scale: int


SETS = {
    "ckks-4096": Set(1, 1, 4096, (134012929, 134111233), 0, 1 << 22, 1 << 28),
    "bfv-4096": Set(2, 2, 4096, (133963777, 134012929, 134111233), 1 << 30, 11585, 11585),
    "bfv-8192": Set(3, 2, 8192, (133513217, 133611521, 133644289), 1 << 30, 11585, 11585),
}


def shake(label: str, size: int) -> bytes:
    """Returns `size` bytes of SHAKE-256 of a label."""
    return hashlib.shake_256(label.encode()).digest(size)


def residues(label: str, polynomials: int, degree: int, primes: tuple[int, ...]) -> bytes:
    """Returns residues of one ciphertext, [polynomial][prime][N]: words of SHAKE-256 modulo each prime."""
    words = struct.iter_unpack("<I", shake(label, 4 * polynomials * len(primes) * degree))
    order = [prime for _ in range(polynomials) for prime in primes for _ in range(degree)]
    return struct.pack(
        f"<{len(order)}I", *(word % prime for (word,), prime in zip(words, order, strict=True))
    )


_WORD = (1 << 64) - 1
_IV = (
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
)  # fmt: skip
_SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
_QUARTERS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip


def blake2b_node(block: bytes, parameters: bytes) -> bytes:
    """Returns BLAKE2b (RFC 7693) of at most one block; hashlib does not allow BLAKE2X's tree depth of 0."""
    start = [iv ^ word for iv, word in zip(_IV, struct.unpack("<8Q", parameters), strict=True)]
    message = struct.unpack("<16Q", block.ljust(128, b"\0"))
    state = [*start, *_IV]
    state[12] ^= len(block)
    state[14] ^= _WORD  # the last block
    for number in range(12):
        order = _SIGMA[number % 10]
        for index, (a, b, c, d) in enumerate(_QUARTERS):
            for word, first, second in ((order[2 * index], 32, 24), (order[2 * index + 1], 16, 63)):
                state[a] = (state[a] + state[b] + message[word]) & _WORD
                state[d] = _rotated(state[d] ^ state[a], first)
                state[c] = (state[c] + state[d]) & _WORD
                state[b] = _rotated(state[b] ^ state[c], second)
    return struct.pack("<8Q", *(start[i] ^ state[i] ^ state[i + 8] for i in range(8)))


def _rotated(word: int, bits: int) -> int:
    return (word >> bits | word << (64 - bits)) & _WORD


def blake2xb(seed: bytes) -> Iterator[int]:
    """Yields SEAL's random stream as 64-bit words: BLAKE2Xb of a counter under the seed, 4096 bytes each."""
    for counter in count():
        root = hashlib.blake2b(struct.pack("<Q", counter), key=seed, node_offset=4096 << 32).digest()
        for node in range(4096 // 64):
            # Digest, key, fanout, depth; leaf; node's number, output's length; depth and inner length.
            parameters = struct.pack("<BBBBIIIBB46x", 64, 0, 0, 0, 64, node, 4096, 0, 64)
            yield from struct.unpack("<8Q", blake2b_node(root, parameters))


def second_polynomial(seed: bytes, degree: int, primes: tuple[int, ...]) -> list[list[int]]:
    """Expands a seed to the second polynomial, [prime][N], like SEAL 4.1's `sample_poly_uniform`."""
    words = blake2xb(seed)
    drawn = [list(islice(words, degree)) for _ in primes]
    most = (1 << 64) - 1
    for prime, row in zip(primes, drawn, strict=True):
        for index in range(degree):
            while row[index] >= most - most % prime - 1:
                row[index] = next(words)
            row[index] %= prime
    return drawn


def block_header(chosen: Set, form: int, ciphertexts: int) -> bytes:
    """Returns the 32 bytes of a block's header."""
    polynomials = 2 if form in (SEEDED, FULL) else 1
    numbers = 1, chosen.scheme, form, polynomials, chosen.number, 0, ciphertexts
    return struct.pack("<4sBBBBHHI16s", b"BSCT", *numbers, KEY_ID)


def planes(name: str, form: int) -> Vector:
    """Returns the vector of a block with one ciphertext of pixel planes."""
    degree, primes = SETS[name].degree, SETS[name].primes
    stored = 1 if form == SEEDED else 2
    label = f"residues of {name}, {stored} stored"
    header = block_header(SETS[name], form, 1)
    body = residues(label, stored, degree, primes)
    made: Vector = {
        "parameter_set": name,
        "form": {SEEDED: "seeded", FULL: "full"}[form],
        "key_id": KEY_ID.hex(),
        "residues": {"shake_256_of": label, "first": list(struct.unpack_from("<4I", body))},
    }
    if form == SEEDED:
        # SEAL's UniformRandomGeneratorInfo: its own header of 16 bytes, the generator's type, the seed.
        prefix = struct.pack("<HBBBBHQB", 0xA15E, 16, 4, 0, 0, 0, 81, 1)
        seed = shake(f"seed of {name}", 64)
        drawn = second_polynomial(seed, degree, primes)
        flat = [value for row in drawn for value in row]
        made["seed"] = (prefix + seed).hex()
        made["second_polynomial"] = {
            "first": [row[:4] for row in drawn],
            "sha256": hashlib.sha256(struct.pack(f"<{len(flat)}I", *flat)).hexdigest(),
        }
        body += prefix + seed
    made |= {"header": header.hex(), "size_bytes": len(header + body)}
    return made | {"sha256": hashlib.sha256(header + body).hexdigest()}


def ciphertexts() -> list[Vector]:
    """Returns vectors of fresh planes and of results, for every parameter set."""
    return [planes(name, form) for name in SETS for form in (SEEDED, FULL)]


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """Returns 32 bytes of HKDF-SHA256 (RFC 5869)."""
    return expanded(hmac.digest(salt, key, "sha256"), info)


def expanded(key: bytes, info: bytes) -> bytes:
    """Returns 32 bytes of HKDF-Expand with SHA-256: its first block."""
    return hmac.digest(key, info + b"\x01", "sha256")


def generated(key: bytes, *shape: int) -> npt.NDArray[np.uint64]:
    """Returns words of the generator: AES-256 in counter mode, from a counter of zero on."""
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(8 * math.prod(shape))), "<u8").reshape(shape)


def ternary(key: bytes, columns: int, degree: int) -> Integers:
    """Returns coefficients -1, 0 and 1, [columns, N]."""
    high = generated(key, columns, degree) >> np.uint64(32)
    return (high * np.uint64(3) >> np.uint64(32)).astype(np.int64) - 1


def uniform(key: bytes, columns: int, chosen: Set) -> Integers:
    """Returns uniform polynomials in NTT form, [columns, primes, N]."""
    words = generated(key, columns, len(chosen.primes), chosen.degree)
    return (words % np.array(chosen.primes, np.uint64)[:, None]).astype(np.int64)


@cache
def smallest_root(degree: int, prime: int) -> int:
    """Returns psi: the smallest number whose N-th power is -1 modulo the prime."""
    return next(root for root in count(2) if pow(root, degree, prime) == prime - 1)


def transformed(polynomials: Integers, chosen: Set) -> Integers:
    """Returns the NTT form of polynomials [columns, N]: [columns, primes, N].

    What is known modulo X^2n - psi^2e is known modulo X^n - psi^e and X^n + psi^e, which is
    X^n - psi^(e + N): halved until n is 1.
    """
    columns, degree = polynomials.shape
    made = []
    for prime in chosen.primes:
        root = smallest_root(degree, prime)
        parts, exponents = (polynomials % prime)[:, None], [degree]
        while parts.shape[2] > 1:
            factors = np.array([[pow(root, one // 2, prime)] for one in exponents])
            low, high = np.split(parts, 2, axis=2)
            parts = np.concatenate([low + factors * high, low - factors * high], axis=2) % prime
            parts = parts.reshape(columns, 2 * len(exponents), -1)
            exponents = [half for one in exponents for half in (one // 2, one // 2 + degree)]
        made.append(parts[:, :, 0])
    return np.stack(made, axis=1)


def coefficients(folded: Integers, chosen: Set) -> list[list[int]]:
    """Returns the centred coefficients at multiples of b of polynomials [fields, primes, N / b]."""
    size, degree = folded.shape[2], chosen.degree
    bits = size.bit_length() - 1
    odd = [2 * int(f"{place:0{bits}b}"[::-1], 2) + 1 for place in range(size)]
    modulus = math.prod(chosen.primes)
    total = np.zeros((len(folded), size), object)
    for row, prime in enumerate(chosen.primes):
        root = pow(smallest_root(degree, prime), degree // size, prime)
        powers = np.array([pow(root, exponent, prime) for exponent in range(2 * size)])
        others = modulus // prime
        for k in range(size):
            # Not over `size` points but over N: what was folded is b times the coefficients.
            each = folded[:, row] * powers[[-k * one % (2 * size) for one in odd]] % prime
            value = each.sum(axis=1) % prime * pow(degree, -1, prime) % prime
            total[:, k] += value.astype(object) * pow(others, -1, prime) % prime * others
    centred = (total + modulus // 2) % modulus - modulus // 2
    if chosen.plain:
        centred = (centred + chosen.plain // 2) % chosen.plain - chosen.plain // 2
    rows: list[list[int]] = centred.tolist()
    return rows


def tiled(polynomials: Integers) -> bytes:
    """Returns the bytes of columns in tiles: [primes][N / 32][columns][32]."""
    columns, primes, degree = polynomials.shape
    tiles = polynomials.reshape(columns, primes, degree // TILE, TILE)
    return tiles.transpose(1, 2, 0, 3).astype("<u4").tobytes()


def places(fields: Sequence[int], stride: int) -> Iterator[tuple[int, int]]:
    """Yields column and coefficient of every value of a row, for the row in slot 0."""
    first_column = 0
    for field in fields:
        for value in range(field):
            yield first_column + value // stride, value % stride
        first_column += -(-field // stride)


def packed(
    rows: Sequence[Sequence[float]], fields: Sequence[int], stride: int, degree: int, first_slot: int = 0
) -> list[list[float]]:
    """Returns rows as coefficients, [columns][N]."""
    needed = sum(-(-field // stride) for field in fields)
    columns: list[list[float]] = [[0] * degree for _ in range(needed)]
    for slot, row in enumerate(rows, first_slot):
        for value, (column, coefficient) in zip(row, places(fields, stride), strict=True):
            columns[column][slot * stride + coefficient] = value
    return columns


def packed_form(form: Sequence[float], fields: Sequence[int], stride: int, degree: int) -> list[list[float]]:
    """Returns a query as coefficients, [columns][N]: where a row has X^r, X^-r, which is -X^(N - r)."""
    columns = packed([], fields, stride, degree)
    for value, (column, coefficient) in zip(form, places(fields, stride), strict=True):
        columns[column][-coefficient % degree] = -value if coefficient else value
    return columns


class Search(NamedTuple):
    """A vector of a search, with the bytes that it only describes."""

    vector: Vector
    batch: bytes
    columns: bytes
    answer: bytes


class _Keys(NamedTuple):
    """The keys of the main region of a collection.

    Attributes:
        derived: keys of 32 bytes by their purpose.
        secrets, masks: of its columns, in NTT form: [columns, primes, N].
    """

    derived: dict[str, bytes]
    secrets: Integers
    masks: Integers


class _Encrypted(NamedTuple):
    """Columns that are encrypted, in NTT form.

    Attributes:
        columns: [columns, primes, N].
        covering: what covers them: a of a batch, t of a query, [1, primes, N].
        errors: the label of their errors.
    """

    columns: Integers
    covering: Integers
    errors: str


# Rows of two fields, in three columns; they stand in some slots of a segment of the main region.
_FIELDS, _STRIDE = (6, 3), 4
_SPANS = ((0, 2), (2, 3))
_COLUMNS = 3
_REGION, _INDEX, _FIRST_SLOT = 1, 7, 2
_ROWS = [[((5 * row + 3 * value) % 17 - 8) / 16 for value in range(9)] for row in range(3)]
_FORM = [((7 * value) % 13 - 6) / 16 for value in range(9)]
_MASTER, _COLLECTION = shake("master", 32), shake("collection", 16)


@cache
def search(name: str) -> Search:
    """Returns a batch, a query, and the answer to it."""
    chosen = SETS[name]
    primes = np.array(chosen.primes)[:, None]
    keys = _column_keys(chosen)
    seed, fresh = shake(f"seed of a batch, {name}", 32), shake(f"secret of a query, {name}", 32)
    rows = packed(_ROWS, _FIELDS, _STRIDE, chosen.degree, _FIRST_SLOT)
    form = packed_form(_FORM, _FIELDS, _STRIDE, chosen.degree)
    common = uniform(seed, 1, chosen)
    secret = transformed(ternary(fresh, 1, chosen.degree), chosen)
    batch = _encrypted(rows, chosen.row_scale, common, keys.secrets, f"rows, {name}", chosen)
    query = _encrypted(form, chosen.query_scale, secret, keys.masks, f"query, {name}", chosen)
    nonce = shake(f"nonce of a batch, {name}", 12)
    body = block_header(chosen, BATCH, _COLUMNS) + tiled(batch.columns) + seed
    place = struct.pack("<BIII", _REGION, _INDEX, _FIRST_SLOT, len(_ROWS))
    block = body + nonce + AESGCM(keys.derived["batches"]).encrypt(nonce, b"", place + body)
    sent = block_header(chosen, COLUMNS, _COLUMNS) + tiled(query.columns)
    answer = _folded(batch.columns * query.columns % primes, _STRIDE) % primes
    answered = answer.astype("<u4").tobytes()
    vector = {
        "parameter_set": name,
        "master": _MASTER.hex(),
        "key_id": KEY_ID.hex(),
        "collection_id": _COLLECTION.hex(),
        "keys": {what: key.hex() for what, key in keys.derived.items()},
        "secrets": _summary(tiled(keys.secrets)),
        "masks": _summary(tiled(keys.masks)),
        "fields": list(_FIELDS),
        "stride": _STRIDE,
        "rows": _ROWS,
        "query": _FORM,
        "batch": {
            "region": _REGION,
            "index": _INDEX,
            "first_slot": _FIRST_SLOT,
            "count": len(_ROWS),
            "errors": {"shake_256_of": batch.errors},
            "header": block[:32].hex(),
            "residues": _summary(tiled(batch.columns)),
            "seed": seed.hex(),
            "common": _summary(common.astype("<u4").tobytes()),
            "nonce": nonce.hex(),
            "tag": block[-16:].hex(),
            "size_bytes": len(block),
            "sha256": hashlib.sha256(block).hexdigest(),
        },
        "columns": {
            "errors": {"shake_256_of": query.errors},
            "secret": fresh.hex(),
            "header": sent[:32].hex(),
            "residues": _summary(tiled(query.columns)),
            "size_bytes": len(sent),
            "sha256": hashlib.sha256(sent).hexdigest(),
        },
        "answer": {
            "fold": _STRIDE,
            "size_bytes": len(answered),
            **_summary(answered),
            "opened": _opened(answer, batch, query, keys, chosen),
        },
    }
    return Search(vector, block, sent, answered)


def _column_keys(chosen: Set) -> _Keys:
    root = hkdf(_MASTER, KEY_ID, b"blindsight/1/columns/" + _COLLECTION)
    purposes = {"secrets": b"secrets/%d" % _REGION, "masks": b"masks/%d" % _REGION, "batches": b"batches"}
    derived = {what: expanded(root, info) for what, info in purposes.items()}
    secrets = transformed(ternary(derived["secrets"], _COLUMNS, chosen.degree), chosen)
    return _Keys({"root": root, **derived}, secrets, uniform(derived["masks"], _COLUMNS, chosen))


def _encrypted(
    values: list[list[float]], scale: int, covering: Integers, each: Integers, what: str, chosen: Set
) -> _Encrypted:
    """Encrypts columns: scaled, with errors, and covered by what they share times what each has."""
    label = f"errors of {what}"
    scaled = np.rint(np.array(values) * scale).astype(np.int64)
    errors = np.frombuffer(shake(label, scaled.size), np.uint8).astype(np.int64) % 7 - 3
    messages = scaled + (chosen.plain or 1) * errors.reshape(scaled.shape)
    primes = np.array(chosen.primes)[:, None]
    return _Encrypted((transformed(messages, chosen) - covering * each) % primes, covering, label)


def _folded(products: Integers, fold: int = 1) -> Integers:
    """Adds up the columns of each field, and then `fold` neighbours: [fields, primes, N / fold]."""
    fields = np.stack([products[first:last].sum(axis=0) for first, last in _SPANS])
    folded: Integers = fields.reshape(*fields.shape[:2], -1, fold).sum(axis=3)
    return folded


def _opened(
    answer: Integers, batch: _Encrypted, query: _Encrypted, keys: _Keys, chosen: Set
) -> list[list[int]]:
    """Returns the inner products of all rows, in units of both scales: [field][row]."""
    primes = np.array(chosen.primes)[:, None]
    held = _folded(batch.columns * keys.masks % primes) % primes
    uncovered = (query.columns + query.covering * keys.masks) % primes
    weights = _folded(keys.secrets * uncovered % primes) % primes
    cover = (query.covering * held + batch.covering * weights) % primes
    whole = (answer + cover.reshape(*answer.shape, _STRIDE).sum(axis=3)) % primes
    slots = slice(_FIRST_SLOT, _FIRST_SLOT + len(_ROWS))
    return [field[slots] for field in coefficients(whole, chosen)]


def _summary(data: bytes) -> Vector:
    """Returns the first words of an array, and its SHA-256."""
    return {"first": list(struct.unpack_from("<4I", data)), "sha256": hashlib.sha256(data).hexdigest()}


def searches() -> list[Vector]:
    """Returns the vector of a search for every parameter set."""
    return [search(name).vector for name in SETS]


def packings() -> list[Vector]:
    """Returns vectors of rows and queries as coefficients, small enough to check by hand."""
    made = []
    for degree, stride, fields in ((16, 4, (6,)), (16, 1, (3,)), (16, 16, (5,)), (16, 4, (3, 5))):
        rows = [
            [10 * row + column for column in range(sum(fields))]
            for row in range(1, 1 + min(3, degree // stride))
        ]
        form = [column + 1 for column in range(sum(fields))]
        made.append(
            {
                "ring_degree": degree,
                "stride": stride,
                "fields": list(fields),
                "rows": rows,
                "columns": packed(rows, fields, stride, degree),
                "query": form,
                "query_columns": packed_form(form, fields, stride, degree),
            }
        )
    return made


def paillier_key() -> tuple[Vector, bytes, int]:
    """Returns a public key without a secret key: its modulus is random, not a product of known primes."""
    modulus = int.from_bytes(shake("modulus", 384), "little") | 1 << 3071 | 1
    numbers = modulus, int.from_bytes(shake("h", 768), "little") % modulus**2
    data = struct.pack("<4sBBH16s", b"BSAP", 1, 1, len(numbers), KEY_ID)
    for number in numbers:
        encoded = number.to_bytes(-(-number.bit_length() // 8), "little")
        data += struct.pack("<I", len(encoded)) + encoded
    return {"n": hex(numbers[0]), "h": hex(numbers[1]), "bytes": data.hex()}, data, modulus


def additive() -> list[Vector]:
    """Returns vectors of a Paillier public key, a block of two ciphertexts, and a query in the clear."""
    key, encoded, modulus = paillier_key()
    # Two rows of three values, each row in one message: 8 bits, 10 guard bits, no scale; growth 7.
    shape = (2, 3, 3, 8, 10, 0)
    numbers = [int.from_bytes(shake(f"number {index}", 768), "little") % modulus**2 for index in range(2)]
    head = struct.pack("<4sBBHII16sIIHBBB3sQQ", b"BSAC", 1, 1, 0, 768, 2, KEY_ID, *shape, bytes(3), 7, 0)
    ciphertexts = head + b"".join(number.to_bytes(768, "little") for number in numbers)
    weights = [[1, -2, 3, -4], [5, -6, 7, -8]]
    query = struct.pack("<4sB3sIII12s", b"BSPQ", 1, bytes(3), 2, 4, len(encoded), bytes(12)) + encoded
    query += struct.pack("<8i", *weights[0], *weights[1])
    return [
        {"what": "public key", "scheme": "paillier", "key_id": KEY_ID.hex(), **key},
        {
            "what": "block",
            "rows": 2,
            "columns": 3,
            "per_ciphertext": 3,
            "value_bits": 8,
            "guard_bits": 10,
            "scale_bits": 0,
            "growth": 7,
            "numbers": [hex(number) for number in numbers],
            "bytes": ciphertexts.hex(),
        },
        {"what": "queries in the clear", "weights": weights, "bytes": query.hex()},
    ]


def sealed() -> list[Vector]:
    """Returns vectors of sealed bytes, of padding, and of a key file with cheap scrypt parameters."""
    key, nonce, place = shake("key", 32), shake("nonce", 12), b"original:" + shake("handle", 16)
    plain = b"a photo"
    body = b"BSSB\x01" + nonce + AESGCM(key).encrypt(nonce, plain, place)
    passphrase = "correct horse battery staple"  # noqa: S105 - published
    header = json.dumps(
        {
            "kdf": "scrypt",
            "n": 1 << 10,
            "r": 8,
            "p": 1,
            "salt": shake("salt", 16).hex(),
            "cipher": "AES-256-GCM",
            "key_id": KEY_ID.hex(),
            "created_unix_seconds": 1_700_000_000,
        }
    ).encode()
    associated = struct.pack("<4sBI", b"BSKY", 1, len(header)) + header
    derived = Scrypt(salt=shake("salt", 16), length=32, n=1 << 10, r=8, p=1).derive(passphrase.encode())
    # Base64 of 32 bytes, and of seven.
    secrets = {
        "master": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "secret_keys": {"ckks-4096": "c2VjcmV0IQ=="},
    }
    file = associated + nonce + AESGCM(derived).encrypt(nonce, json.dumps(secrets).encode(), associated)
    return [
        {"what": "sealed", "key": key.hex(), "place": place.hex(), "plain": plain.hex(), "bytes": body.hex()},
        # 208 is 11010000 in binary: an exponent of 7, which has 3 bits, so the last 4 bits are to be zeros.
        {
            "what": "padded",
            "plain": bytes(range(200)).hex(),
            "bytes": (struct.pack("<Q", 200) + bytes(range(200))).hex(),
        },
        # 209 is 11010001, and the next such number 11100000.
        {
            "what": "padded",
            "plain": bytes(range(201)).hex(),
            "bytes": (struct.pack("<Q", 201) + bytes(range(201)) + bytes(15)).hex(),
        },
        {
            "what": "key file",
            "passphrase": passphrase,
            "key_id": KEY_ID.hex(),
            "master": bytes(range(32)).hex(),
            "secret_keys": {"ckks-4096": b"secret!".hex()},
            "bytes": file.hex(),
        },
    ]


def keypoints() -> list[Vector]:
    """Returns the vector of two keypoints of a picture of 320 x 240."""
    places = [[1.5, 2.25], [100.0, 200.5]]
    descriptors = [shake(f"descriptor {index}", 128) for index in range(2)]
    packed = struct.pack("<4sBHHH", b"BSKP", 1, 2, 320, 240)
    packed += struct.pack("<4f", *places[0], *places[1]).ljust(4000, b"\0") + b"".join(descriptors).ljust(
        64000, b"\0"
    )
    return [
        {
            "width": 320,
            "height": 240,
            "places": places,
            "descriptors": [one.hex() for one in descriptors],
            "size_bytes": len(packed),
            "sha256": hashlib.sha256(packed).hexdigest(),
        }
    ]


FILES: dict[str, Callable[[], list[Vector]]] = {
    "ciphertexts": ciphertexts,
    "search": searches,
    "packing": packings,
    "additive": additive,
    "sealed": sealed,
    "keypoints": keypoints,
}


def text(name: str) -> str:
    """Returns the text of a file in tests/vectors."""
    rows = ",\n".join(json.dumps(vector) for vector in FILES[name]())
    return f"[\n{rows}\n]\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")
