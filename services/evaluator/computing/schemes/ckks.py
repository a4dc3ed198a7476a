"""CKKS ciphertexts are in NTT form as SEAL makes them: there is nothing to prepare."""

from __future__ import annotations

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet


class CkksPublic:
    """The public half of CKKS."""

    def gallery(self, polynomials: Residues, parameters: ParameterSet) -> None:
        """Nothing."""

    def query(self, polynomials: Residues, parameters: ParameterSet) -> None:
        """Nothing."""

    def constant(self, value: int, parameters: ParameterSet) -> int:
        """Planes have the gallery's scale."""
        return value * round(parameters.gallery_scale) % parameters.modulus
