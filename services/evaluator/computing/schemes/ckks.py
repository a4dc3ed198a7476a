"""The public half of CKKS: SEAL makes ciphertexts in NTT form, so there is nothing to prepare."""

from __future__ import annotations

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet


class CkksPublic:
    """The public half of CKKS."""

    def gallery(self, polynomials: Residues, parameters: ParameterSet) -> None:
        """Leaves polynomials of a gallery as they are."""

    def query(self, polynomials: Residues, parameters: ParameterSet) -> None:
        """Leaves polynomials of a query as they are."""

    def constant(self, value: int, parameters: ParameterSet) -> int:
        """Returns `value` times the gallery's scale, which planes have, modulo q."""
        return value * round(parameters.gallery_scale) % parameters.modulus
