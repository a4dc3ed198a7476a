"""The public halves of the ring schemes, which bring ciphertexts into the form that the kernel multiplies.

A scheme is one module here and one row in `SCHEMES`; the secret half is in `blindsight.trusted.schemes`.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet, Scheme
from services.evaluator.computing.schemes.bfv import BfvPublic
from services.evaluator.computing.schemes.ckks import CkksPublic

__all__ = ["SCHEMES", "PublicScheme", "Side", "prepare"]


class Side(Enum):
    """The two factors of a product."""

    GALLERY = "gallery"
    QUERY = "query"


class PublicScheme(Protocol):
    """The public operations of a scheme on fresh ciphertexts; they need no key."""

    def gallery(self, polynomials: Residues, parameters: ParameterSet) -> None:
        """Prepares polynomials uint32 [count, primes, N] of a gallery, in place."""

    def query(self, polynomials: Residues, parameters: ParameterSet) -> None:
        """Prepares polynomials uint32 [count, primes, N] of a query, in place."""

    def constant(self, value: int, parameters: ParameterSet) -> int:
        """Returns what is added to c0 of encrypted planes, modulo q, to add `value` to the pixels."""


SCHEMES: dict[Scheme, PublicScheme] = {Scheme.CKKS: CkksPublic(), Scheme.BFV: BfvPublic()}


def prepare(polynomials: Residues, parameters: ParameterSet, side: Side) -> None:
    """Brings polynomials [count, primes, N] into the kernel's form, in place."""
    scheme = SCHEMES[parameters.scheme]
    if side is Side.GALLERY:
        scheme.gallery(polynomials, parameters)
    else:
        scheme.query(polynomials, parameters)
