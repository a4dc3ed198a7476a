"""The schemes of encrypted image processing: a row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from blindsight.errors import InvalidArgument
from blindsight.parameters import BFV_4096, CKKS_4096, ParameterSet
from blindsight.trusted.keyholder.crypto.pool import Crypto
from blindsight.trusted.keyholder.peers import EvaluatorClient
from blindsight.trusted.keyholder.processing.engine import PlaneEngine
from blindsight.trusted.keyholder.processing.ring import RingEngine

DEFAULT_SCHEME = "bfv"


@dataclass(frozen=True, slots=True)
class Engines:
    """Makes an engine for a job.

    Attributes:
        key_id: of the owner's key set.
        evaluator, crypto: the keyholder's rooms.
    """

    key_id: bytes
    evaluator: EvaluatorClient
    crypto: Crypto

    def of_scheme(self, scheme: str) -> PlaneEngine:
        """The engine of a scheme by its name; empty: bfv.

        Raises:
            InvalidArgument: when there is none; the message lists the known.
        """
        name = scheme or DEFAULT_SCHEME
        if name not in SCHEMES:
            raise InvalidArgument(f"scheme {name!r}, want one of {', '.join(SCHEMES)}")
        return SCHEMES[name](self)

    def ring(self, parameters: ParameterSet, view_pixels: int = 0) -> RingEngine:
        """The engine of a parameter set; see `RingEngine`."""
        return RingEngine(parameters, self.key_id, self.evaluator, self.crypto, view_pixels)


SCHEMES: dict[str, Callable[[Engines], PlaneEngine]] = {
    "bfv": lambda engines: engines.ring(BFV_4096),
    "ckks": lambda engines: engines.ring(CKKS_4096),
}
