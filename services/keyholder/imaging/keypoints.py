"""Keypoints of a picture, as a whole job: an octave of its scale space is one round trip to the evaluator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from blindsight.errors import InvalidArgument
from blindsight.packing.scale_space import ScaleImage
from blindsight.parameters import BFV_4096, CKKS_4096
from blindsight.trusted.imaging import borders, opencv, sift
from blindsight.trusted.imaging.borders import Border
from blindsight.trusted.imaging.drawing import draw_keypoints
from blindsight.trusted.imaging.images import Colours
from blindsight.trusted.imaging.linear import LinearMap
from blindsight.trusted.imaging.quantising import Room, quantise
from blindsight.trusted.imaging.sift import Detection, Features, OctavePlan, Pyramid
from blindsight.trusted.imaging.sift.plan import Images
from services.keyholder import metrics
from services.keyholder.imaging import memory_estimates as memory
from services.keyholder.imaging.engine import Account, Progress, Stage, Transformed, Values
from services.keyholder.imaging.engines import Engines
from services.keyholder.imaging.ring_engine import RingEngine
from services.keyholder.imaging.sources import Encrypted, Opened, Pictures, Plain, Source

# Bases of later octaves are blurred: they are encrypted in sixteenths of a grey level.
FRACTION_BITS = 4
DEFAULT_SIDE, MOST_SIDE = 800, 1600
# Its results are decrypted twice as fast as BFV's, and its noise is far below what moves a keypoint.
DEFAULT_SCHEME = "ckks"
PARAMETERS = {"ckks": CKKS_4096, "bfv": BFV_4096}
_BOTH = (
    "the first octave is computed of stored planes where they are; the keyholder decrypts them too, for the "
    "later octaves and the drawing"
)

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Settings:
    """How keypoints are to be found.

    Attributes:
        scheme: empty for that of a stored photo which can be computed with where it is, else ckks.
        octaves: at most so many; None: all that the picture has.
        scales: levels of an octave in which extrema are looked for.
        side: a larger picture is made smaller, so that no side is longer.
        detection: which extrema are keypoints.

    Raises:
        InvalidArgument: for what cannot be; a scheme that computes no scale space, with those that do.
    """

    scheme: str = ""
    octaves: int | None = None
    scales: int = sift.SCALES
    side: int = DEFAULT_SIDE
    detection: Detection = field(default_factory=Detection)

    def __post_init__(self) -> None:
        if self.scheme and self.scheme not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise InvalidArgument(f"scheme {self.scheme[:40]!r} for keypoints, want one of {known}")
        self.plans(1, 1)
        if not 1 <= self.side <= MOST_SIDE:
            raise InvalidArgument(f"side of {self.side} pixels, want 1 to {MOST_SIDE}")

    def plans(self, height: int, width: int) -> tuple[OctavePlan, ...]:
        """The octaves of a picture, largest first."""
        return sift.octave_plans(height, width, octaves=self.octaves, scales=self.scales)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture in the clear, as large as keypoints are looked for in it.

    Attributes:
        shown: uint8 [height, width] or [height, width, 3].
        grey: uint8 [height, width].
        remark: what was converted, for people.
        stored: planes with which the evaluator can compute the first octave where they are.
    """

    shown: Picture
    grey: Picture
    remark: str
    stored: Encrypted | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """The result.

    Attributes:
        features: in pixels of `drawn`'s picture.
        size: width and height of the picture that they were looked for in.
        drawn: uint8 [height, width, 3], the picture with its keypoints.
        account: what it took.
    """

    features: Features
    size: tuple[int, int]
    drawn: Picture
    account: Account


@dataclass(slots=True)
class _Course:
    """How far all octaves of all pictures are, in their pixels: what is left takes about as long a pixel."""

    total: int
    done: int = 0

    def at(self, plan: OctavePlan, part: float) -> Progress:
        """Of the octave that is being computed, so much."""
        return Progress(Stage.COMPUTE, self.done + int(part * _pixels(plan)), self.total)

    def finished(self, plan: OctavePlan) -> Progress:
        """An octave is done."""
        self.done += _pixels(plan)
        return Progress(Stage.COMPUTE, self.done, self.total)


class Detector:
    """Finds keypoints of pictures in the clear with an evaluator's scale space.

    Args:
        engine: applies kernels to what is encrypted.
        settings: of the job.

    Attributes:
        features: of each picture that was gone through.
    """

    def __init__(self, engine: RingEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self.features: list[Features] = []

    async def run(self, *pictures: Seen) -> AsyncGenerator[Progress, None]:
        """Goes through the octaves of pictures, one after the other.

        Raises:
            BlindsightError: see `RingEngine.scale_space`.
        """
        plans = [self._settings.plans(*one.grey.shape) for one in pictures]
        course = _Course(sum(_pixels(plan) for octaves in plans for plan in octaves))
        for one, octaves in zip(pictures, plans, strict=True):
            async with aclosing(self._picture(one, octaves, course)) as told:
                async for progress in told:
                    yield progress

    async def _picture(
        self, seen: Seen, plans: Sequence[OctavePlan], course: _Course
    ) -> AsyncGenerator[Progress, None]:
        base, bits, found = seen.grey.astype(np.float32), 0, [Features.none()]
        stored = seen.stored
        for plan in plans:
            fixed = np.rint(base * (1 << bits)).astype(np.int32)
            answers: list[Images] = []
            async for made in self._answers(plan, fixed, bits, stored):
                if isinstance(made, Progress):
                    yield course.at(plan, made.done / max(1, made.total))
                else:
                    answers = made
            exact = (fixed / (1 << bits)).astype(np.float32)
            pyramid, features = await asyncio.to_thread(self._finish, plan, exact, answers)
            yield course.finished(plan)
            found.append(features)
            base, bits, stored = plan.next_base(pyramid), FRACTION_BITS, None
        self.features.append(Features.joined(found))

    async def _answers(
        self, plan: OctavePlan, fixed: npt.NDArray[np.int32], bits: int, stored: Encrypted | None
    ) -> AsyncIterator[Progress | list[Images]]:
        """What the octave's kernels make of a base in fixed point, or of the same in storage."""
        room = self._engine.room
        narrower = replace(room, largest=room.largest >> bits)
        images = [_finest(one, plan.phases, narrower) for one in plan.asked()]
        if stored is not None:
            made = self._engine.scale_space_stored(stored.planes, stored.layout, images, plan.phases)
        else:
            padded = borders.pad(fixed[None], plan.reach, Border.REFLECT)
            made = self._engine.scale_space(padded, plan.reach, images, plan.phases)
        async with aclosing(made) as answers:
            async for answer in answers:
                if isinstance(answer, Transformed):
                    yield _woven(plan, answer.values, [1 << (one.bits + bits) for one in images])
                else:
                    yield answer

    def _finish(self, plan: OctavePlan, base: Images, answers: list[Images]) -> tuple[Pyramid, Features]:
        pyramid = plan.pyramid(base, answers)
        return pyramid, sift.features(pyramid, plan, self._settings.detection)


class Keypoints:
    """Finds the keypoints of one picture.

    Args:
        pictures, engines: what it works with.
    """

    def __init__(self, pictures: Pictures, engines: Engines) -> None:
        self._pictures = pictures
        self._engines = engines

    async def memory_bytes(self, settings: Settings, source: Source) -> int:
        """See `Job.memory_bytes`."""
        return await memory_bytes(self._pictures, settings, [source])

    async def run(self, settings: Settings, source: Source) -> AsyncGenerator[Progress | Detected, None]:
        """Tells how far it is, and at last the result.

        Raises:
            InvalidArgument: when OpenCV, which draws, is not installed.
            InvalidImage: for a picture that is none.
            NotFound: for a photo that there is not, or that has no planes.
            BlindsightError: see `RingEngine.scale_space`.
        """
        started = time.perf_counter()
        opencv.require_installed()
        picture = await self._pictures.open(source, Colours.AS_THEY_ARE)
        engine = engine_of(self._engines, settings, picture)
        seen = await read(self._pictures, picture, settings, engine.account)
        detector = Detector(engine, settings)
        with metrics.IMAGING_SECONDS.labels("keypoints", engine.account.scheme).time():
            async for progress in detector.run(seen):
                yield progress
            (features,) = detector.features
            drawn = await asyncio.to_thread(draw_keypoints, seen.shown, features)
        engine.account.total_seconds = time.perf_counter() - started
        height, width = seen.grey.shape
        yield Detected(features, (width, height), np.asarray(drawn), engine.account)


def engine_of(engines: Engines, settings: Settings, *pictures: Opened) -> RingEngine:
    """The engine of the scheme that is asked for, in the parameter set of planes that it can use in place."""
    for one in pictures:
        if not isinstance(one, Encrypted) or settings.scheme not in ("", one.scheme):
            continue
        if not _unfit(one, settings):
            return engines.ring(one.parameters)
    return engines.ring(PARAMETERS[settings.scheme or DEFAULT_SCHEME])


def _pixels(plan: OctavePlan) -> int:
    return plan.height * plan.width


def _unfit(picture: Encrypted, settings: Settings) -> str:
    """Why keypoints cannot be looked for in stored planes as they are; empty when they can."""
    channels, height, width = picture.shape
    if channels > 1:
        return "stored planes are RGB, and keypoints are looked for in grey"
    if max(height, width) > settings.side:
        return f"stored planes are {width} x {height} pixels, and keypoints are looked for in {settings.side}"
    reach = max((one.reach for one in settings.plans(height, width)[:1]), default=0)
    return picture.short_of(reach)


async def read(
    pictures: Pictures, picture: Opened, settings: Settings, account: Account, prefix: str = ""
) -> Seen:
    """A picture in the clear, no side of it longer than the settings allow.

    Stored planes are decrypted in any case: later octaves begin with a level in the clear, and it is drawn.

    Args:
        account: of the job; remarks go there, after the prefix.
    """
    if isinstance(picture, Plain):
        seen = await asyncio.to_thread(_reduced, picture, settings.side)
    elif why := picture.unusable(account) or _unfit(picture, settings):
        plain = await pictures.decrypted(picture, account, prefix + why)
        seen = await asyncio.to_thread(_reduced, plain, settings.side)
    else:
        seen = await asyncio.to_thread(_reduced, await pictures.clear(picture), settings.side)
        seen = replace(seen, stored=picture, remark=_BOTH)
    account.remarks += [f"{prefix}{seen.remark}"] if seen.remark else []
    return seen


async def memory_bytes(pictures: Pictures, settings: Settings, sources: Sequence[Source]) -> int:
    """What keypoints of pictures take, one after the other; see `Job.memory_bytes`."""
    opencv.require_installed()
    shapes = [await pictures.shape(one, Colours.AS_THEY_ARE) for one in sources]
    return memory.of_keypoints(shapes, settings.side, settings.scales + 3)


def _reduced(picture: Plain, side: int) -> Seen:
    values = np.moveaxis(picture.planes, 0, 2)
    image = Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)
    width, height = image.size
    remarks = [picture.remark] if picture.remark else []
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        remarks.append(f"{width} x {height} pixels made {image.width} x {image.height}")
    return Seen(np.asarray(image), np.asarray(image.convert("L")), "; ".join(remarks))


def _finest(image: ScaleImage, phases: int, room: Room) -> ScaleImage:
    """An image of a scale space with weights as fine as there is room for."""
    quantised = quantise([LinearMap.centred(kernel) for kernel in image.kernels(phases)], room)
    return replace(image, bits=quantised.scale.bit_length() - 1)


def _woven(plan: OctavePlan, values: Values, scales: list[int]) -> list[Images]:
    """Images of the octave out of results [kernels, 1, height, width], each of its own scale."""
    phases = plan.phases**2
    return [
        plan.woven(part / np.float32(scale) for part in values[index * phases : (index + 1) * phases, 0])
        for index, scale in enumerate(scales)
    ]
