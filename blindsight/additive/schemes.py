"""The table of additive schemes: names, key sizes and operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

from blindsight.errors import InvalidArgument

# 112-bit security by NIST SP 800-57 part 1 (2020), table 2, the least that it still allows; 3072 is 128-bit.
LEAST_MODULUS_BITS = 2048
DEFAULT_MODULUS_BITS = 3072
# The size of a public key determines the size of the evaluator's table: 90 MB here.
MOST_MODULUS_BITS = 8192

# Below this, not even the arithmetic of the schemes holds; for tests and comparison only.
LEAST_INSECURE_BITS = 256

NOT_ENCRYPTION = "not encryption: hides a picture from a glance only"


class AdditiveScheme(IntEnum):
    """Schemes that add under encryption; the value is part of the wire form of keys and ciphertexts."""

    PAILLIER = 1
    SCRAMBLE = 2
    LIGHTPHE_PAILLIER = 16
    LIGHTPHE_DAMGARD_JURIK = 17
    LIGHTPHE_OKAMOTO_UCHIYAMA = 18
    LIGHTPHE_BENALOH = 19
    LIGHTPHE_NACCACHE_STERN = 20
    LIGHTPHE_EXPONENTIAL_ELGAMAL = 21
    LIGHTPHE_EC_ELGAMAL = 22


class Operation(Enum):
    """The operations without the secret key; all weights are in the clear."""

    SUM = "sums"
    DIFFERENCE = "differences"
    WEIGHTED_SUM = "weighted sums"
    RERANDOMISATION = "re-randomisation"


ALL = frozenset(Operation)


@dataclass(frozen=True, slots=True)
class SchemeInfo:
    """Properties of a scheme, for users and for programs.

    Attributes:
        name: the name by which users choose it.
        what: a short description.
        rests_on: the problem that must be hard for it to be secure; "" for none.
        operations: its operations without the secret key.
        algorithm: LightPHE's name of it; "" for our own.
        fixed_bits: the only key size; 0 if it can be chosen.
        key_sizes: the only sizes from 2048 bits on; empty: all within bounds.
        default_bits: the default key size; 0: the size must be stated.
        message_bits: bits of a message whatever the key; 0 if they grow with the key.
        packed: whether a message may hold several values.
    """

    name: str
    what: str
    rests_on: str = ""
    operations: frozenset[Operation] = ALL
    algorithm: str = ""
    fixed_bits: int = 0
    key_sizes: tuple[int, ...] = ()
    default_bits: int = 0
    message_bits: int = 0
    packed: bool = True

    @property
    def description(self) -> str:
        """A one-line description for listings and answers."""
        room = f", messages of {self.message_bits} bits" if self.message_bits else ""
        return f"{self.what}{room}; rests on {self.rests_on}" if self.rests_on else self.what


_FACTORING, _RESIDUOSITY, _LOGARITHMS = "factoring", "higher residuosity", "discrete logarithms"

SCHEMES: dict[AdditiveScheme, SchemeInfo] = {
    AdditiveScheme.PAILLIER: SchemeInfo(
        "paillier",
        "Paillier with many values per ciphertext",
        _FACTORING,
        default_bits=DEFAULT_MODULUS_BITS,
    ),
    AdditiveScheme.SCRAMBLE: SchemeInfo(
        "scramble",
        NOT_ENCRYPTION,
        operations=frozenset({Operation.DIFFERENCE}),
        fixed_bits=256,
        packed=False,
    ),
    AdditiveScheme.LIGHTPHE_PAILLIER: SchemeInfo(
        "lightphe-paillier", "LightPHE's Paillier", _FACTORING, algorithm="Paillier"
    ),
    AdditiveScheme.LIGHTPHE_DAMGARD_JURIK: SchemeInfo(
        "lightphe-damgard-jurik", "LightPHE's Damgard-Jurik, s = 2", _FACTORING, algorithm="Damgard-Jurik"
    ),
    AdditiveScheme.LIGHTPHE_OKAMOTO_UCHIYAMA: SchemeInfo(
        "lightphe-okamoto-uchiyama",
        "LightPHE's Okamoto-Uchiyama",
        "factoring p^2 q",
        algorithm="Okamoto-Uchiyama",
    ),
    AdditiveScheme.LIGHTPHE_BENALOH: SchemeInfo(
        "lightphe-benaloh", "LightPHE's Benaloh", _RESIDUOSITY, algorithm="Benaloh", message_bits=20
    ),
    AdditiveScheme.LIGHTPHE_NACCACHE_STERN: SchemeInfo(
        "lightphe-naccache-stern",
        "LightPHE's Naccache-Stern",
        _RESIDUOSITY,
        algorithm="Naccache-Stern",
        message_bits=25,
    ),
    AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL: SchemeInfo(
        "lightphe-exponential-elgamal",
        "LightPHE's exponential ElGamal",
        _LOGARITHMS,
        algorithm="Exponential-ElGamal",
        key_sizes=(2048, 3072),  # RFC 3526's, of which the keyholder has the primes
        message_bits=20,
    ),
    AdditiveScheme.LIGHTPHE_EC_ELGAMAL: SchemeInfo(
        "lightphe-ec-elgamal",
        "LightPHE's elliptic-curve ElGamal on secp256k1",
        _LOGARITHMS,
        algorithm="EllipticCurve-ElGamal",
        fixed_bits=256,
        message_bits=20,
    ),
}
_BY_NAME = {info.name: scheme for scheme, info in SCHEMES.items()}


def by_name(name: str) -> AdditiveScheme:
    """Returns the scheme of this name.

    Raises:
        InvalidArgument: if there is none; the message lists all names.
    """
    if name not in _BY_NAME:
        raise InvalidArgument(f"no additive scheme of that name, want one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def require(scheme: AdditiveScheme, operation: Operation) -> None:
    """Checks that a scheme can do an operation.

    Raises:
        InvalidArgument: if it cannot; the message names what it can do, and the schemes that can do this.
    """
    info = SCHEMES[scheme]
    if operation in info.operations:
        return
    can = ", ".join(one.value for one in Operation if one in info.operations)
    others = ", ".join(one.name for one in SCHEMES.values() if operation in one.operations)
    raise InvalidArgument(
        f"{info.name} ({info.description}) cannot do {operation.value}, it can do {can}; "
        f"{operation.value}: {others}"
    )


def key_bits(scheme: AdditiveScheme, bits: int | None, *, insecure_small_keys: bool = False) -> int:
    """Checks the key size to use, and returns it.

    Args:
        bits: the requested size; None for the scheme's default.
        insecure_small_keys: allows LightPHE's algorithms keys so small that anyone can break them.

    Raises:
        InvalidArgument: if no size is stated and the scheme has no default, or the size is out of range.
    """
    info = SCHEMES[scheme]
    if bits is None:
        bits = info.fixed_bits or info.default_bits
    if not bits:
        raise InvalidArgument(
            f"{info.name} has no default key size, want one of at least {LEAST_MODULUS_BITS} bits"
        )
    small = LEAST_INSECURE_BITS if insecure_small_keys and info.algorithm else LEAST_MODULUS_BITS
    least, most = (info.fixed_bits, info.fixed_bits) if info.fixed_bits else (small, MOST_MODULUS_BITS)
    if not least <= bits <= most:
        wanted = f"{least}" if least == most else f"at least {least}, at most {most}"
        raise InvalidArgument(f"{info.name} key of {bits} bits, want {wanted}")
    if info.key_sizes and bits >= LEAST_MODULUS_BITS and bits not in info.key_sizes:
        known = " or ".join(map(str, info.key_sizes))
        raise InvalidArgument(f"{info.name} key of {bits} bits, want {known}")
    return bits


def operation_of(weights: Sequence[int]) -> Operation:
    """Returns the operation that a weighted sum with these weights needs at least."""
    if all(weight == 1 for weight in weights):
        return Operation.SUM
    return Operation.DIFFERENCE if sorted(weights) == [-1, 1] else Operation.WEIGHTED_SUM


def require_room(scheme: AdditiveScheme, value_bits: int, guard_bits: int) -> None:
    """Checks that messages of the scheme can hold such results.

    Args:
        value_bits: values are less than 2^value_bits in magnitude.
        guard_bits: the magnitudes of all weights sum to at most 2^guard_bits.

    Raises:
        InvalidArgument: if no key's messages can; the message names the bound.
    """
    info = SCHEMES[scheme]
    if info.message_bits and value_bits + guard_bits > info.message_bits:
        raise InvalidArgument(
            f"values of {value_bits} bits with weights that add {guard_bits} would overflow: "
            f"a message of {info.name} has {info.message_bits} bits"
        )


def warning(scheme: AdditiveScheme, bits: int) -> str:
    """Returns the warning to show with every answer computed under such a key; "" for none."""
    if scheme is AdditiveScheme.SCRAMBLE:
        return NOT_ENCRYPTION
    if not SCHEMES[scheme].fixed_bits and bits < LEAST_MODULUS_BITS:
        return f"a key of {bits} bits: anybody can break it; for comparison only"
    return ""
