"""The schemes of encrypted image processing: a row each."""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.additive import schemes
from blindsight.errors import InvalidArgument
from blindsight.parameters import BFV_4096, CKKS_4096, ParameterSet
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.crypto.pool import Crypto
from services.keyholder.imaging.engine import PlaneEngine
from services.keyholder.imaging.paillier_engine import AdditiveEngine
from services.keyholder.imaging.ring_engine import MAX_VIEW_PIXELS, RingEngine
from services.keyholder.operations.combine import Combine

DEFAULT_SCHEME = "bfv"
RING_SETS = {"bfv": BFV_4096, "ckks": CKKS_4096}
PAILLIER = "paillier"
# Those that filter.
SCHEMES = (*RING_SETS, PAILLIER)


@dataclass(frozen=True, slots=True)
class Engines:
    """Makes an engine for a job.

    Attributes:
        key_id: of the owner's key set.
        evaluator, crypto, combinations: the keyholder's rooms.
    """

    key_id: bytes
    evaluator: EvaluatorClient
    crypto: Crypto
    combinations: Combine

    def of_scheme(self, scheme: str, key_bits: int | None = None, view_pixels: int = 0) -> PlaneEngine:
        """The engine of a scheme that filters, by its name; empty: bfv.

        Args:
            key_bits: of paillier; None for its default.
            view_pixels: see the engines.

        Raises:
            InvalidArgument: when there is none, and the message lists the known; or no such key.
        """
        name = scheme or DEFAULT_SCHEME
        if name not in SCHEMES:
            raise InvalidArgument(f"scheme {name!r}, want one of {', '.join(SCHEMES)}")
        require_key_bits(name, key_bits)
        if name in RING_SETS:
            return self.ring(RING_SETS[name], view_pixels)
        return self.additive(name, key_bits, view_pixels)

    def additive(self, name: str, key_bits: int | None = None, view_pixels: int = 0) -> AdditiveEngine:
        """The engine of an additive scheme; see `AdditiveEngine`."""
        rooms = self.evaluator, self.crypto.pool, self.combinations
        return AdditiveEngine(schemes.by_name(name), key_bits, *rooms, min(view_pixels, MAX_VIEW_PIXELS))

    def ring(self, parameters: ParameterSet, view_pixels: int = 0) -> RingEngine:
        """The engine of a parameter set; see `RingEngine`."""
        return RingEngine(parameters, self.key_id, self.evaluator, self.crypto, view_pixels)


def require_key_bits(scheme: str, key_bits: int | None) -> None:
    """Refuses a key size for a scheme that has no choice.

    Raises:
        InvalidArgument: then.
    """
    if key_bits and scheme != PAILLIER:
        raise InvalidArgument("key bits are for paillier only: other schemes have keys of their own")
