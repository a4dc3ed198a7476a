"""The schemes of encrypted image processing, one row each."""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.additive import schemes
from blindsight.errors import InvalidArgument
from blindsight.parameters import BFV_4096, CKKS_4096
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.secrets import Secret
from services.keyholder.imaging.paillier_engine import AdditiveEngine, AdditivePlanes
from services.keyholder.imaging.ring_engine import MAX_VIEW_PIXELS, RingEngine, RingScheme
from services.keyholder.operations.combine import Combine
from services.keyholder.operations.products import Multiplier

DEFAULT_SCHEME = "bfv"
RING_SETS = {"bfv": BFV_4096, "ckks": CKKS_4096}
PAILLIER = "paillier"
# Schemes that can filter.
SCHEMES = (*RING_SETS, PAILLIER)
AnyScheme = RingScheme | AdditivePlanes


def scheme(name: str, key_bits: int | None = None) -> AnyScheme:
    """Returns a scheme that can filter.

    Args:
        name: its name; empty for bfv.
        key_bits: key size of paillier; None for its default.

    Raises:
        InvalidArgument: if the name is unknown (the message lists the known), or the key size is invalid.
    """
    name = name or DEFAULT_SCHEME
    if name not in SCHEMES:
        raise InvalidArgument(f"scheme {name!r}, want one of {', '.join(SCHEMES)}")
    require_key_bits(name, key_bits)
    return RingScheme(RING_SETS[name]) if name in RING_SETS else additive(name, key_bits)


def additive(name: str, key_bits: int | None = None) -> AdditivePlanes:
    """Returns an additive scheme by its name; see `AdditivePlanes.of`."""
    return AdditivePlanes.of(schemes.by_name(name), key_bits)


@dataclass(frozen=True, slots=True)
class Engines:
    """A factory of engines.

    Attributes:
        key_id: id of the owner's key set.
        tile_key: the owner's, by which tiles in storage are checked.
        evaluator: client of the evaluator.
        crypto: worker processes that encrypt and decrypt.
        combinations: weighted sums under additive schemes.
        multiplier: computes encrypted products of vectors.
    """

    key_id: bytes
    tile_key: Secret
    evaluator: EvaluatorClient
    crypto: Crypto
    combinations: Combine
    multiplier: Multiplier

    def start(self, scheme: AnyScheme, view_pixels: int = 0) -> RingEngine | AdditiveEngine:
        """Returns a new engine of a scheme; the engines describe `view_pixels`."""
        if isinstance(scheme, RingScheme):
            return self.ring(scheme, view_pixels)
        rooms = self.evaluator, self.crypto.pool, self.combinations
        return AdditiveEngine(scheme, *rooms, min(view_pixels, MAX_VIEW_PIXELS))

    def ring(self, scheme: RingScheme, view_pixels: int = 0) -> RingEngine:
        """Returns a new engine of a ring scheme; see `RingEngine`."""
        return RingEngine(
            scheme.parameters, self.key_id, self.tile_key, self.evaluator, self.crypto, view_pixels
        )


def require_key_bits(scheme: str, key_bits: int | None) -> None:
    """Refuses a key size for a scheme other than paillier.

    Raises:
        InvalidArgument: if key bits are given for such a scheme.
    """
    if key_bits and scheme != PAILLIER:
        raise InvalidArgument("key bits are for paillier only: other schemes have keys of their own")
