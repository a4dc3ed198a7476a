"""LightPHE's algorithm objects and ciphertexts, for secret-key and for public operations.

LightPHE is optional and is imported when it is used.  Its objects receive checked integers and return
integers; none of its readers or writers is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from blindsight.additive.keys import INFINITY, AdditivePublicKey
from blindsight.additive.schemes import SCHEMES, AdditiveScheme
from blindsight.errors import MissingPackage

Point = tuple[float, float]
CURVE = {"form": "weierstrass", "curve": "secp256k1"}
_LIGHTPHE_INFINITY = (float("inf"), float("inf"))


def require_installed(scheme: AdditiveScheme) -> None:
    """Checks that LightPHE is installed if the scheme needs it, without importing it.

    Raises:
        MissingPackage: if it is not installed; the message says what to install.
    """
    if SCHEMES[scheme].algorithm and find_spec("lightphe") is None:
        raise MissingPackage(
            f"{SCHEMES[scheme].name} needs LightPHE, which is not installed: "
            "pip install 'blindsight-vault-library[lightphe]' beside the keyholder and the evaluator"
        )


def cryptosystem(
    scheme: AdditiveScheme, public: Mapping[str, Any], secret: Mapping[str, int] | None = None
) -> Any:
    """Creates LightPHE's object for an algorithm, with these key numbers.

    Raises:
        MissingPackage: if LightPHE is not installed.
    """
    require_installed(scheme)
    from lightphe import LightPHE

    keys: dict[str, Any] = {"public_key": dict(public)}
    if secret is not None:
        keys["private_key"] = dict(secret)
    extra = CURVE if scheme is AdditiveScheme.LIGHTPHE_EC_ELGAMAL else {}
    return LightPHE(algorithm_name=SCHEMES[scheme].algorithm, keys=keys, **extra).cs


def keys_of(public_key: AdditivePublicKey) -> dict[str, Any]:
    """Returns the public numbers by LightPHE's names."""
    if public_key.scheme is AdditiveScheme.LIGHTPHE_EC_ELGAMAL:
        return {"Qa": public_key.numbers}
    return public_key.named


def group_ciphertexts(scheme: AdditiveScheme, numbers: Sequence[int]) -> Iterator[Any]:
    """Converts numbers to ciphertexts in LightPHE's form: an integer, a pair, or a pair of points each."""
    if scheme is AdditiveScheme.LIGHTPHE_EC_ELGAMAL:
        points = (_from_point(point) for point in zip(numbers[::2], numbers[1::2], strict=True))
        return zip(points, points, strict=True)
    if scheme is AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL:
        return zip(numbers[::2], numbers[1::2], strict=True)
    return iter(numbers)


def flatten(ciphertext: Any) -> list[int]:
    """Returns the numbers of one ciphertext in LightPHE's form."""
    if isinstance(ciphertext, int):
        return [ciphertext]
    if ciphertext == _LIGHTPHE_INFINITY:
        return list(INFINITY)
    return [number for part in ciphertext for number in flatten(part)]


def _from_point(point: tuple[int, int]) -> Point:
    return _LIGHTPHE_INFINITY if point == INFINITY else point
