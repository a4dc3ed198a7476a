"""BFV products by pointwise arithmetic.

SEAL multiplies BFV ciphertexts by extending their base, which takes 2.6 ms each.  That is not needed: for a
BFV ciphertext c with plaintext modulus t, t*c is a BGV ciphertext of -q*m modulo t (its phase is
t*round(q m/t) + t*e = q*m - r + t*e with r = q*m modulo t), and BGV products are pointwise in NTT form.  If
only one factor is multiplied by t, the product c * (t c') is a BFV ciphertext again, of -q m m' modulo t; the
keyholder undoes the factor.  See Alperin-Sheriff and Peikert, "Practical Bootstrapping in Quasilinear Time"
(Crypto 2013), appendix A, for the change between the two encodings.
"""

from __future__ import annotations

import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet
from blindsight.ring import ntt


class BfvPublic:
    """The public half of BFV."""

    def gallery(self, polynomials: Residues, parameters: ParameterSet) -> None:
        """Transforms polynomials of a gallery into NTT form, in place."""
        ntt.forward(polynomials, parameters)

    def query(self, polynomials: Residues, parameters: ParameterSet) -> None:
        """Transforms polynomials of a query into NTT form and multiplies them by t, in place."""
        # Either factor could be multiplied by t; a query is one block, while a gallery has many segments.
        ntt.forward(polynomials, parameters)
        for row, prime in enumerate(parameters.primes):
            # t has 30 bits and a prime 27, so t is reduced, too.
            product = polynomials[:, row].astype(np.uint64) * np.uint64(parameters.plain_modulus % prime)
            polynomials[:, row] = product % np.uint64(prime)

    def constant(self, value: int, parameters: ParameterSet) -> int:
        """Returns `value` times q / t, rounded, modulo q: messages are scaled by q / t."""
        modulus, plain = parameters.modulus, parameters.plain_modulus
        return (value * modulus + plain // 2) // plain % modulus
