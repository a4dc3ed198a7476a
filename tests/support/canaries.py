"""Bytes that must not leave the owner's zone, and the search for them in what an untrusted one may see."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import zstandard
from PIL import Image

from blindsight.parameters import ParameterSet
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.secrets import Secret

# So many bytes of a secret in a row are no accident: by chance one place in 2^192 looks like them.
WINDOW = 24
_PREFIX = np.dtype("<u8")
_SIDE = 96


def picture(seed: int) -> tuple[bytes, bytes]:
    """A BMP file, which keeps its pixels as they are, and 48 bytes that stand in every row of them.

    The rest of the picture is a gradient, so that an embedder has something to describe.
    """
    canary = np.random.default_rng(seed).bytes(48)
    slope = np.linspace(0, 255, _SIDE)
    across = np.tile(slope, (_SIDE, 1))
    pixels = np.stack([np.add.outer(slope, slope) / 2, across, across[:, ::-1]], axis=2).astype(np.uint8)
    pixels[:, 8:24] = np.frombuffer(canary, np.uint8).reshape(16, 3)[:, ::-1]  # BMP writes blue first
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "BMP")
    data = buffer.getvalue()
    assert data.count(canary) == _SIDE
    return data, canary


def windows(secret: bytes, count: int = 64, seed: int = 0) -> list[bytes]:
    """Samples runs of a secret: all of a short one, `count` of a long one."""
    last = len(secret) - WINDOW
    assert last >= 0, "too short to be recognised"
    chosen = np.arange(last + 1)
    if len(chosen) > count:
        chosen = np.random.default_rng(seed).choice(chosen, count, replace=False)
    return [secret[start : start + WINDOW] for start in chosen]


def floats(vector: np.ndarray) -> list[bytes]:
    """A vector as it may lie in memory or in a message: single and double precision."""
    return [vector.astype(kind).tobytes() for kind in ("<f4", "<f8")]


def spelled(value: bytes) -> list[bytes]:
    """A value as text may hold it: as it is, in hexadecimal, in base64 at each of its three alignments."""
    shifted = [base64.b64encode(bytes(shift) + value)[4 * (shift > 0) : -4] for shift in range(3)]
    return [value, value.hex().encode(), *shifted]


def key_material(key_set: KeySet, passphrase: Secret, parameters: ParameterSet) -> dict[str, list[bytes]]:
    """The secret key of a parameter set in every form that it has, and what seals all else."""
    serialised = key_set.secret_key(parameters.name).reveal_secret()
    header, public = 16, 100  # SEAL's header; what a key begins with is the same for all keys
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(serialised[header:])
    moduli = [*parameters.primes, parameters.special_prime]
    residues = np.frombuffer(plain[-8 * len(moduli) * parameters.ring_degree :], "<u8").reshape(
        len(moduli), -1
    )
    assert (residues < np.array(moduli)[:, None]).all()
    assert residues.any(axis=1).all()
    forms = {
        "the secret key": [serialised[public:], plain[public:], residues.astype("<u4").tobytes()],
        "the master key": [key_set.master.reveal_secret()],
        "a key for names or settings": [
            key_set.subkey(purpose).reveal_secret() for purpose in ("names", "settings")
        ],
        "the passphrase": [passphrase.reveal_secret()],
    }
    return {
        name: [window for form in every for text in spelled(form) for window in windows(text)]
        for name, every in forms.items()
    }


def factor_of(modulus: int, data: bytes) -> bool:
    """Whether a factor of a modulus of two equal primes stands anywhere in data, in either order of bytes."""
    size = modulus.bit_length() // 16
    for place in range(len(data) - size + 1):
        for order in ("little", "big"):
            candidate = int.from_bytes(data[place : place + size], order)
            if candidate > 1 and modulus % candidate == 0:
                return True
    return False


class Needles:
    """What is looked for, by a name that may be shown: the bytes themselves are secrets.

    Searching is by the first eight bytes, all needles at once: for a hundred megabytes it takes seconds.
    """

    def __init__(self, named: Mapping[str, Iterable[bytes]]) -> None:
        self._names: dict[bytes, str] = {
            needle: name for name, needles in named.items() for needle in needles
        }
        assert all(len(needle) >= 8 for needle in self._names)
        starts = {needle[:8] for needle in self._names}
        self._starts = np.sort(np.frombuffer(b"".join(starts), _PREFIX))
        self._by_start: dict[bytes, list[bytes]] = {}
        for needle in self._names:
            self._by_start.setdefault(needle[:8], []).append(needle)

    def found(self, haystack: bytes) -> set[str]:
        """Names of the needles that stand in it."""
        names = set()
        for shift in range(min(_PREFIX.itemsize, len(haystack) - _PREFIX.itemsize + 1)):
            words = np.frombuffer(haystack, _PREFIX, (len(haystack) - shift) // _PREFIX.itemsize, shift)
            places = np.searchsorted(self._starts, words)
            hits = np.flatnonzero(self._starts[np.minimum(places, len(self._starts) - 1)] == words)
            for start in (hits * 8 + shift).tolist():
                names |= {
                    self._names[needle]
                    for needle in self._by_start[haystack[start : start + 8]]
                    if haystack.startswith(needle, start)
                }
        return names

    def found_in(self, haystacks: Mapping[str, bytes]) -> dict[str, set[str]]:
        """By haystack, where there is any."""
        searched = {name: self.found(haystack) for name, haystack in haystacks.items()}
        return {name: found for name, found in searched.items() if found}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
