"""All whole jobs of image processing, put together."""

from __future__ import annotations

from blindsight.trusted.keyholder.collections.vault import Vault
from blindsight.trusted.keyholder.crypto.pool import Crypto
from blindsight.trusted.keyholder.operations.combine import Combine
from blindsight.trusted.keyholder.operations.planes import Planes
from blindsight.trusted.keyholder.peers import EvaluatorClient
from blindsight.trusted.keyholder.processing.detecting import Keypoints
from blindsight.trusted.keyholder.processing.differing import Difference
from blindsight.trusted.keyholder.processing.engines import Engines
from blindsight.trusted.keyholder.processing.filtering import Filter
from blindsight.trusted.keyholder.processing.matching import Match
from blindsight.trusted.keyholder.processing.pictures import Pictures


class Processing:
    """What the rpcs delegate to.

    Attributes:
        filter: of one picture.
        difference: of two.
        keypoints: of one.
        match: of two by their keypoints.

    Args:
        key_id: of the owner's key set.
        vault, planes, evaluator, crypto, combinations: the keyholder's rooms.
    """

    def __init__(
        self,
        key_id: bytes,
        vault: Vault,
        planes: Planes,
        evaluator: EvaluatorClient,
        crypto: Crypto,
        combinations: Combine,
    ) -> None:
        pictures = Pictures(vault, planes, crypto)
        engines = Engines(key_id, evaluator, crypto, combinations)
        self.filter = Filter(pictures, engines)
        self.difference = Difference(pictures, engines)
        self.keypoints = Keypoints(pictures, engines)
        self.match = Match(pictures, engines)
