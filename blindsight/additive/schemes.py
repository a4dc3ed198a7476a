"""The table of additive schemes: names, key sizes, and what each can do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from blindsight.errors import InvalidArgument

# 112-bit security by NIST SP 800-57 part 1 (2020), table 2, the least that it still allows; 3072 is 128-bit.
LEAST_MODULUS_BITS = 2048
DEFAULT_MODULUS_BITS = 3072
# A public key sets how large a table the evaluator makes: 90 MB here.
MOST_MODULUS_BITS = 8192

# Under this not even the arithmetic of the schemes holds; for tests and comparison only.
LEAST_INSECURE_BITS = 256

NOT_ENCRYPTION = "not encryption: hides a picture from a glance only"


class AdditiveScheme(IntEnum):
    """Schemes that add under encryption; the value stands in the wire form of keys and ciphertexts."""

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
    """What can be asked of the public half; all weights are in the clear."""

    SUM = "sums"
    DIFFERENCE = "differences"
    WEIGHTED_SUM = "weighted sums"
    RERANDOMISATION = "re-randomisation"


ALL = frozenset(Operation)


@dataclass(frozen=True, slots=True)
class SchemeInfo:
    """What people and programs must know of a scheme.

    Attributes:
        name: what people type.
        description: one line for listings and answers.
        operations: what its public half can do.
        algorithm: LightPHE's name of it; "" for our own.
        fixed_bits: the only key size there is; 0 where it can be chosen.
        default_bits: the key size when none is stated; 0: it must be stated.
        packed: whether a message may hold several values.
    """

    name: str
    description: str
    operations: frozenset[Operation] = ALL
    algorithm: str = ""
    fixed_bits: int = 0
    default_bits: int = 0
    packed: bool = True


def _lightphe(name: str, algorithm: str, description: str, fixed_bits: int = 0) -> SchemeInfo:
    return SchemeInfo(f"lightphe-{name}", description, algorithm=algorithm, fixed_bits=fixed_bits)


SCHEMES: dict[AdditiveScheme, SchemeInfo] = {
    AdditiveScheme.PAILLIER: SchemeInfo(
        "paillier",
        "Paillier with many values per ciphertext; rests on factoring",
        default_bits=DEFAULT_MODULUS_BITS,
    ),
    AdditiveScheme.SCRAMBLE: SchemeInfo(
        "scramble", NOT_ENCRYPTION, frozenset({Operation.DIFFERENCE}), fixed_bits=256, packed=False
    ),
    AdditiveScheme.LIGHTPHE_PAILLIER: _lightphe(
        "paillier", "Paillier", "LightPHE's Paillier; rests on factoring"
    ),
    AdditiveScheme.LIGHTPHE_DAMGARD_JURIK: _lightphe(
        "damgard-jurik", "Damgard-Jurik", "LightPHE's Damgard-Jurik, s = 2; rests on factoring"
    ),
    AdditiveScheme.LIGHTPHE_OKAMOTO_UCHIYAMA: _lightphe(
        "okamoto-uchiyama", "Okamoto-Uchiyama", "LightPHE's Okamoto-Uchiyama; rests on factoring p^2 q"
    ),
    AdditiveScheme.LIGHTPHE_BENALOH: _lightphe(
        "benaloh", "Benaloh", "LightPHE's Benaloh, messages of 20 bits; rests on higher residuosity"
    ),
    AdditiveScheme.LIGHTPHE_NACCACHE_STERN: _lightphe(
        "naccache-stern",
        "Naccache-Stern",
        "LightPHE's Naccache-Stern, messages of 25 bits; rests on higher residuosity",
    ),
    AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL: _lightphe(
        "exponential-elgamal",
        "Exponential-ElGamal",
        "LightPHE's exponential ElGamal, messages of 20 bits; rests on discrete logarithms",
    ),
    AdditiveScheme.LIGHTPHE_EC_ELGAMAL: _lightphe(
        "ec-elgamal",
        "EllipticCurve-ElGamal",
        "LightPHE's elliptic-curve ElGamal on secp256k1, messages of 20 bits; rests on discrete logarithms",
        fixed_bits=256,
    ),
}
_BY_NAME = {info.name: scheme for scheme, info in SCHEMES.items()}


def by_name(name: str) -> AdditiveScheme:
    """The scheme that people call so.

    Raises:
        InvalidArgument: with all names.
    """
    if name not in _BY_NAME:
        raise InvalidArgument(f"no additive scheme of that name, want one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def require(scheme: AdditiveScheme, operation: Operation) -> None:
    """Refuses what a scheme cannot do.

    Raises:
        InvalidArgument: with what it can do and who else could.
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
    """The key size to use, or a refusal of it.

    Args:
        bits: what was asked for; None for the scheme's default.
        insecure_small_keys: lets LightPHE's algorithms use keys that anybody can break.

    Raises:
        InvalidArgument: when none was stated where one must be, or the size is out of range.
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
    return bits
