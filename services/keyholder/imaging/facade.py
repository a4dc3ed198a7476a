"""The jobs of image processing, with the memory that they share."""

from __future__ import annotations

from blindsight.runtime.memory_budget import MemoryBudget
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.vault.vault import Vault
from services.keyholder.alarms.alarms import Alarms
from services.keyholder.imaging.admission import Admitted
from services.keyholder.imaging.difference import Difference
from services.keyholder.imaging.engines import Engines
from services.keyholder.imaging.filter import Filter
from services.keyholder.imaging.keypoints import Keypoints
from services.keyholder.imaging.match import Match
from services.keyholder.imaging.sources import Pictures
from services.keyholder.operations.combine import Combine
from services.keyholder.operations.planes import Planes
from services.keyholder.operations.products import Multiplier


class Processing:
    """The kinds of jobs to which the rpcs delegate.

    Attributes:
        filter: filters one picture.
        difference: subtracts two pictures.
        keypoints: finds the keypoints of one picture.
        match: matches two pictures by their keypoints.

    Args:
        keys: the owner's key set.
        vault, planes: read stored photos.
        evaluator: client of the evaluator.
        crypto: worker processes that decode, encrypt and decrypt.
        combinations: weighted sums under additive schemes.
        multiplier: computes encrypted products of vectors.
        alarms: are told of answers that are refused.
        budget: memory of all jobs at once, by estimates.
    """

    def __init__(
        self,
        keys: KeySet,
        vault: Vault,
        planes: Planes,
        evaluator: EvaluatorClient,
        crypto: Crypto,
        combinations: Combine,
        multiplier: Multiplier,
        alarms: Alarms,
        budget: MemoryBudget,
    ) -> None:
        pictures = Pictures(vault, planes, crypto)
        engines = Engines(keys.key_id, keys.subkey("tiles"), evaluator, crypto, combinations, multiplier)
        one, two = (lambda source: (source,)), (lambda pair: pair)
        self.filter = Admitted(Filter(pictures, engines), budget, alarms, one)
        self.difference = Admitted(Difference(pictures, engines), budget, alarms, two)
        self.keypoints = Admitted(Keypoints(pictures, engines), budget, alarms, one)
        self.match = Admitted(Match(pictures, engines), budget, alarms, two)
