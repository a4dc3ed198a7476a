"""The job that matches the keypoints of two pictures."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from blindsight.errors import InvalidArgument
from blindsight.parameters import PARAMETER_SETS
from blindsight.trusted.crypto import tasks
from blindsight.trusted.imaging import matching
from blindsight.trusted.imaging.matching import Matches, Nearest
from blindsight.trusted.imaging.sift import Features
from services.keyholder import metrics
from services.keyholder.imaging import keypoints, memory_estimates
from services.keyholder.imaging.engine import Account, Progress, Stage
from services.keyholder.imaging.engines import Engines
from services.keyholder.imaging.keypoints import DetectionPlan, Detector, Picture
from services.keyholder.imaging.sources import Pictures, Source
from services.keyholder.operations.encrypted_matching import EncryptedMatching
from services.keyholder.operations.naming import of_photo

# Limit for each picture if descriptors are compared under encryption: all pairs of more take a minute.
ENCRYPTED_DESCRIPTORS = 1000


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """Settings of a match of two pictures.

    Attributes:
        detection: settings of the search for keypoints in both.
        ratio: limit of the ratio test, for the distance to the nearest descriptor over the second nearest.
        encrypted: whether the evaluator compares the descriptors, under encryption.

    Raises:
        InvalidArgument: if the ratio is not over 0 and at most 1.
    """

    detection: keypoints.DetectionSettings
    ratio: float = matching.RATIO
    encrypted: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise InvalidArgument(f"ratio {self.ratio:g}, want more than 0 and at most 1")


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """The result of a match.

    Attributes:
        features: the keypoints of both pictures.
        matches: the matches of these keypoints.
        drawn: uint8 [height, width, 3], both pictures side by side.
        account: the job's costs.
    """

    features: tuple[Features, Features]
    matches: Matches
    drawn: Picture
    account: Account


@dataclass(frozen=True, slots=True, eq=False)
class MatchPlan:
    """The plan of a match.

    Attributes:
        settings: the caller's settings.
        detection: the plan of the search for keypoints in both pictures.
    """

    settings: MatchSettings
    detection: DetectionPlan

    @property
    def memory_bytes(self) -> int:
        """Estimated memory for keypoints, and for descriptors that are compared under encryption."""
        compared = memory_estimates.of_encrypted_matching() if self.settings.encrypted else 0
        return self.detection.memory_bytes + compared


class Match:
    """The kind of job that matches two pictures.

    Args:
        pictures: reads the pictures.
        engines: makes the engine of each job.
    """

    def __init__(self, pictures: Pictures, engines: Engines) -> None:
        self._pictures = pictures
        self._engines = engines

    async def plan(self, settings: MatchSettings, sources: tuple[Source, Source]) -> MatchPlan:
        """Plans a match of two pictures; see `keypoints.detection_plan`."""
        detection = await keypoints.detection_plan(self._pictures, settings.detection, sources)
        return MatchPlan(settings, detection)

    async def run(self, plan: MatchPlan) -> AsyncGenerator[Progress | Matched, None]:
        """Yields progress, and the result last.

        Raises:
            InvalidImage: if a picture cannot be decoded.
            BlindsightError: see `RingEngine.transform` and `EncryptedMatching.nearest`.
        """
        started, settings, pictures = time.perf_counter(), plan.settings, plan.detection.pictures
        engine = self._engines.ring(plan.detection.scheme)
        account = engine.account
        seen = []
        for number, (name, one) in enumerate(zip("AB", pictures, strict=True)):
            with of_photo(number):
                seen.append(await keypoints.read(self._pictures, one, account, f"{name}: "))
        detector = Detector(engine, settings.detection.detection)
        with metrics.IMAGING_SECONDS.labels("match", account.scheme).time():
            octaves = [one.octaves for one in pictures]
            async for progress in detector.run(*zip(seen, octaves, strict=True)):
                yield progress
            found = detector.features
            if settings.encrypted:
                found = [_strongest(name, one, account) for name, one in zip("AB", found, strict=True)]
            first, second = found
            yield Progress(Stage.FINISH, 0, 1)
            nearest = await self._nearest(first, second, account) if settings.encrypted else None
            decoders = self._engines.crypto.decoders
            matches = await decoders.run(tasks.Match(first, second, nearest, settings.ratio))
            shown = seen[0].shown, seen[1].shown
            drawn = await decoders.run(tasks.DrawMatches(shown, (first, second), matches))
            yield Progress(Stage.FINISH, 1, 1)
        account.total_seconds = time.perf_counter() - started
        yield Matched((first, second), matches, drawn, account)

    async def _nearest(self, first: Features, second: Features, account: Account) -> Nearest:
        parameters = PARAMETER_SETS[account.parameter_set]
        comparing = EncryptedMatching(self._engines.multiplier, parameters)
        nearest = await comparing.nearest(first.descriptors, second.descriptors)
        account.round_trips += comparing.account.round_trips
        account.ciphertexts += comparing.account.ciphertexts
        account.results += comparing.account.results
        account.sent_bytes += comparing.account.sent_bytes
        account.received_bytes += comparing.account.received_bytes
        return nearest


def _strongest(name: str, features: Features, account: Account) -> Features:
    if len(features) > ENCRYPTED_DESCRIPTORS:
        account.remarks.append(
            f"{name}: the {ENCRYPTED_DESCRIPTORS} strongest of {len(features)} keypoints are compared"
        )
    return features.strongest(ENCRYPTED_DESCRIPTORS)
