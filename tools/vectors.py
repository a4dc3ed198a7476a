"""Writes tests/vectors/*.json: `python tools/vectors.py`.

It follows docs/wire-format.md and imports nothing of `blindsight` or `services`: two independent
implementations of a format check each other.  Long runs of bytes are SHAKE-256 of a label, to keep the files
readable.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "vectors"
KEY_ID = bytes(range(16))
# name: (scheme, number, N, primes); docs/wire-format.md says which is seeded in coefficient form.
SETS = {
    "ckks-4096": (1, 1, 4096, (134012929, 134111233)),
    "bfv-4096": (2, 2, 4096, (133963777, 134012929, 134111233)),
    "bfv-8192": (2, 3, 8192, (133513217, 133611521, 133644289)),
}
SEEDED, FULL = 1, 2

Vector = dict[str, Any]


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


def block(name: str, form: int, polynomials: int) -> Vector:
    """Returns the vector of a block with one ciphertext."""
    scheme, number, degree, primes = SETS[name]
    label = f"residues of {name}, {polynomials} polynomials"
    header = struct.pack("<4sBBBBHHI16s", b"BSCT", 1, scheme, form, polynomials, number, 0, 1, KEY_ID)
    stored = 1 if form == SEEDED else polynomials
    body = residues(label, stored, degree, primes)
    made: Vector = {
        "parameter_set": name,
        "form": {SEEDED: "seeded", FULL: "full"}[form],
        "polynomials": polynomials,
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
    """Returns vectors of fresh ciphertexts and products, for every parameter set."""
    forms = ((SEEDED, 2), (FULL, 2), (FULL, 3))
    return [block(name, form, polynomials) for name in SETS for form, polynomials in forms]


def packings() -> list[Vector]:
    """Returns vectors of rows and queries as coefficients, small enough to check by hand."""
    made = []
    for degree, stride, fields in ((16, 4, (6,)), (16, 1, (3,)), (16, 16, (5,)), (16, 4, (3, 5))):
        rows = [
            [10 * row + column for column in range(sum(fields))]
            for row in range(1, 1 + min(3, degree // stride))
        ]
        form = [column + 1 for column in range(sum(fields))]
        columns = sum(-(-field // stride) for field in fields)
        packed = [[0] * degree for _ in range(columns)]
        query = [[0] * degree for _ in range(columns)]
        first_column, first_value = 0, 0
        for field in fields:
            for value in range(field):
                column, place = first_column + value // stride, value % stride
                for slot, row in enumerate(rows):
                    packed[column][slot * stride + place] = row[first_value + value]
                # q_r is the coefficient of X^-r, which is -X^(N-r).
                query[column][-place % degree] = form[first_value + value] * (-1 if place else 1)
            first_column, first_value = first_column - (-field // stride), first_value + field
        made.append(
            {
                "ring_degree": degree,
                "stride": stride,
                "fields": list(fields),
                "rows": rows,
                "columns": packed,
                "query": form,
                "query_columns": query,
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
    """Returns vectors of sealed bytes, and of a key file with cheap scrypt parameters."""
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
