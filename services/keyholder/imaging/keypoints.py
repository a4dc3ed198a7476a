"""The job that finds keypoints: each octave of a picture's scale space is one round trip to the evaluator."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from blindsight.errors import InvalidArgument
from blindsight.packing.planes import PlaneLayout
from blindsight.packing.scale_space import ScaleImage
from blindsight.parameters import BFV_4096, CKKS_4096
from blindsight.trusted.crypto import tasks
from blindsight.trusted.imaging import borders, opencv, sift
from blindsight.trusted.imaging.borders import Border
from blindsight.trusted.imaging.images import Colours
from blindsight.trusted.imaging.linear import LinearMap
from blindsight.trusted.imaging.quantising import Room, quantise
from blindsight.trusted.imaging.sift import Detection, Features, OctavePlan, Pyramid
from blindsight.trusted.imaging.sift.plan import Images
from services.keyholder import metrics
from services.keyholder.imaging import memory_estimates
from services.keyholder.imaging.engine import Account, Progress, Stage, Transformed, Values
from services.keyholder.imaging.engines import Engines
from services.keyholder.imaging.ring_engine import RingEngine, RingScheme, ScaleTrip
from services.keyholder.imaging.sources import Encrypted, Known, Pictures, Plain, Source

# Bases of later octaves are blurred and not integers: they are encrypted in sixteenths of a grey level.
FRACTION_BITS = 4
DEFAULT_SIDE, MOST_SIDE = 800, 1600
# CKKS results are decrypted twice as fast as BFV's, and the noise is far too small to move a keypoint.
DEFAULT_SCHEME = "ckks"
PARAMETERS = {"ckks": CKKS_4096, "bfv": BFV_4096}
_BOTH = (
    "the first octave is computed of stored planes where they are; the keyholder decrypts them too, for the "
    "later octaves and the drawing"
)

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """Settings of the search for keypoints.

    Attributes:
        scheme: the scheme's name; empty for that of a stored photo that can be used in place, or ckks.
        octaves: the most octaves; None for all that the picture has.
        scales: levels of an octave in which extrema are searched.
        side: the longest side in pixels; a larger picture is reduced to it.
        detection: criteria for keypoints among the extrema.

    Raises:
        InvalidArgument: if a field is out of range, or the scheme does not support scale spaces.
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
        """Returns the plans of a picture's octaves, largest first."""
        return sift.octave_plans(height, width, octaves=self.octaves, scales=self.scales)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture in the clear, in the size in which keypoints are searched.

    Attributes:
        shown: uint8 [height, width] or [height, width, 3].
        grey: uint8 [height, width].
        remark: a sentence on conversions; empty if there were none.
        stored: the photo whose stored planes the evaluator uses for the first octave; None if there is none.
    """

    shown: Picture
    grey: Picture
    remark: str
    stored: Encrypted | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """The result of the search for keypoints.

    Attributes:
        features: the keypoints, in pixels of the drawn picture, and their descriptors.
        size: width and height of the picture in which they were searched.
        drawn: uint8 [height, width, 3], the picture with its keypoints.
        account: the job's costs.
    """

    features: Features
    size: tuple[int, int]
    drawn: Picture
    account: Account


@dataclass(frozen=True, slots=True, eq=False)
class Octave:
    """An octave of a picture, which takes one round trip.

    Attributes:
        plan: the images of the octave.
        bits: the base is encrypted in multiples of 2^-bits of a grey level.
        trip: the round trip that computes the images.
    """

    plan: OctavePlan
    bits: int
    trip: ScaleTrip

    @property
    def pixels(self) -> int:
        """Pixels of one image of the octave."""
        return self.plan.height * self.plan.width


@dataclass(frozen=True, slots=True, eq=False)
class PicturePlan:
    """The plan of one picture of a job.

    Attributes:
        picture: the picture before it is opened.
        height, width: size in which keypoints are searched.
        decrypted: why stored planes cannot be used in place; empty if they can, or for a file.
        octaves: largest first.
    """

    picture: Known
    height: int
    width: int
    decrypted: str
    octaves: tuple[Octave, ...]

    @property
    def stored(self) -> Encrypted | None:
        """The stored photo whose planes the first octave is computed from in place; None if there is none."""
        return self.picture if isinstance(self.picture, Encrypted) and not self.decrypted else None


@dataclass(frozen=True, slots=True, eq=False)
class DetectionPlan:
    """The plan of a search for keypoints in pictures, one after the other.

    Attributes:
        settings: the caller's settings.
        scheme: the scheme under which all pictures are encrypted.
        pictures: the plan of each picture.
    """

    settings: DetectionSettings
    scheme: RingScheme
    pictures: tuple[PicturePlan, ...]

    @property
    def memory_bytes(self) -> int:
        """Estimated memory for all pictures and for an octave of the largest."""
        largest = max(self.pictures, key=lambda one: one.height * one.width)
        octaves = memory_estimates.of_scale_space(largest.height, largest.width, self.settings.scales + 3)
        return memory_estimates.of_pictures(one.picture.shape for one in self.pictures) + octaves


async def detection_plan(
    pictures: Pictures, settings: DetectionSettings, sources: Sequence[Source]
) -> DetectionPlan:
    """Plans a search for keypoints in pictures.

    Raises:
        InvalidArgument: if OpenCV, which draws the result, is not installed.
        InvalidImage: if a source is not an image, by its header.
        NotFound: if a photo does not exist, or has no planes.
    """
    opencv.require_installed()
    known = await pictures.look_all(sources, Colours.AS_THEY_ARE)
    scheme = _scheme(settings, known)
    # In a thread: quantising tens of kernels takes tens of milliseconds.
    plans = [await asyncio.to_thread(_picture_plan, settings, scheme, one) for one in known]
    return DetectionPlan(settings, scheme, tuple(plans))


def _scheme(settings: DetectionSettings, pictures: Sequence[Known]) -> RingScheme:
    """Returns the wanted scheme, with the parameter set of stored planes if they can be used in place."""
    for one in pictures:
        if not isinstance(one, Encrypted) or settings.scheme not in ("", one.scheme):
            continue
        if not _unfit(one, settings):
            return RingScheme(one.parameters)
    return RingScheme(PARAMETERS[settings.scheme or DEFAULT_SCHEME])


def _unfit(picture: Encrypted, settings: DetectionSettings) -> str:
    """Returns why keypoints cannot be searched in stored planes as they are; empty if they can."""
    channels, height, width = picture.shape
    if channels > 1:
        return "stored planes are RGB, and keypoints are looked for in grey"
    if max(height, width) > settings.side:
        return f"stored planes are {width} x {height} pixels, and keypoints are looked for in {settings.side}"
    reach = max((one.reach for one in settings.plans(height, width)[:1]), default=0)
    return picture.short_of(reach)


def _picture_plan(settings: DetectionSettings, scheme: RingScheme, picture: Known) -> PicturePlan:
    height, width = reduced_size(*picture.shape[1:], settings.side)
    why = ""
    if isinstance(picture, Encrypted):
        why = picture.unusable(scheme) or _unfit(picture, settings)
    stored = picture.layout if isinstance(picture, Encrypted) and not why else None
    return PicturePlan(picture, height, width, why, octaves(settings, scheme, height, width, stored))


def octaves(
    settings: DetectionSettings,
    scheme: RingScheme,
    height: int,
    width: int,
    stored: PlaneLayout | None = None,
) -> tuple[Octave, ...]:
    """Returns the octaves of a picture, largest first.

    Args:
        stored: the layout of stored planes that are the first octave's base; None if there are none.
    """
    made: list[Octave] = []
    for plan in settings.plans(height, width):
        bits = FRACTION_BITS if made else 0
        room = replace(scheme.room, largest=scheme.room.largest >> bits)
        images = tuple(_finest(one, plan.phases, room) for one in plan.asked())
        layout = stored if stored is not None and not made else None
        if layout is None:
            layout = scheme.layout(plan.height // plan.phases, plan.width // plan.phases, plan.reach)
        made.append(Octave(plan, bits, ScaleTrip(layout, images, plan.phases)))
    return tuple(made)


def reduced_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Returns height and width after a reduction to this longest side, as Pillow's thumbnails have them."""
    if max(height, width) <= side:
        return height, width
    # Of the two nearest integers, the one that keeps the ratio of the sides better.
    ratio = width / height
    if ratio <= 1:
        return side, _rounded(side * ratio, lambda number: abs(ratio - number / side))
    return _rounded(side / ratio, lambda number: abs(ratio - side / number) if number else 0.0), side


def _rounded(value: float, off: Callable[[int], float]) -> int:
    return max(1, min(math.floor(value), math.ceil(value), key=off))


@lru_cache(maxsize=128)
def _finest(image: ScaleImage, phases: int, room: Room) -> ScaleImage:
    """Returns an image of a scale space with the finest weights that cannot overflow."""
    quantised = quantise([LinearMap.centred(kernel) for kernel in image.kernels(phases)], room)
    return replace(image, bits=quantised.scale.bit_length() - 1)


@dataclass(slots=True)
class _Course:
    """Progress over all octaves of all pictures, in pixels, since each pixel takes about as long."""

    total: int
    done: int = 0

    def at(self, octave: Octave, part: float) -> Progress:
        """Returns the progress when this part (0 to 1) of the current octave is computed."""
        return Progress(Stage.COMPUTE, self.done + int(part * octave.pixels), self.total)

    def finished(self, octave: Octave) -> Progress:
        """Counts an octave as done; returns the progress."""
        self.done += octave.pixels
        return Progress(Stage.COMPUTE, self.done, self.total)


class Detector:
    """A detector of keypoints, for which the evaluator computes the scale space.

    Args:
        engine: has the evaluator apply kernels to encrypted planes.
        detection: criteria for keypoints among the extrema.

    Attributes:
        features: the keypoints of each picture that is done.
    """

    def __init__(self, engine: RingEngine, detection: Detection) -> None:
        self._engine = engine
        self._detection = detection
        self.features: list[Features] = []

    async def run(self, *pictures: tuple[Seen, Sequence[Octave]]) -> AsyncGenerator[Progress, None]:
        """Searches the octaves of pictures, one after the other, and yields progress.

        Raises:
            BlindsightError: see `RingEngine.transform`.
        """
        course = _Course(sum(one.pixels for _, octaves in pictures for one in octaves))
        for seen, octaves in pictures:
            async with aclosing(self._picture(seen, octaves, course)) as told:
                async for progress in told:
                    yield progress

    async def _picture(
        self, seen: Seen, octaves: Sequence[Octave], course: _Course
    ) -> AsyncGenerator[Progress, None]:
        base, found, stored = seen.grey.astype(np.float32), [Features.none()], seen.stored
        for octave in octaves:
            fixed = np.rint(base * (1 << octave.bits)).astype(np.int32)
            answers: list[Images] = []
            async for made in self._answers(octave, fixed, stored):
                if isinstance(made, Progress):
                    yield course.at(octave, made.done / max(1, made.total))
                else:
                    answers = made
            exact = (fixed / (1 << octave.bits)).astype(np.float32)
            pyramid, features = await asyncio.to_thread(self._finish, octave.plan, exact, answers)
            yield course.finished(octave)
            found.append(features)
            base, stored = octave.plan.next_base(pyramid), None
        self.features.append(Features.joined(found))

    async def _answers(
        self, octave: Octave, fixed: npt.NDArray[np.int32], stored: Encrypted | None
    ) -> AsyncIterator[Progress | list[Images]]:
        """Yields progress, then the octave's images, computed from a base in fixed point or stored planes."""
        if stored is not None:
            made = self._engine.transform_stored(octave.trip, stored.planes)
        else:
            padded = borders.pad(fixed[None], octave.plan.reach, Border.REFLECT)
            made = self._engine.transform(octave.trip, padded)
        scales = [1 << (one.bits + octave.bits) for one in octave.trip.images]
        async with aclosing(made) as answers:
            async for answer in answers:
                if isinstance(answer, Transformed):
                    yield _woven(octave.plan, answer.values, scales)
                else:
                    yield answer

    def _finish(self, plan: OctavePlan, base: Images, answers: list[Images]) -> tuple[Pyramid, Features]:
        pyramid = plan.pyramid(base, answers)
        return pyramid, sift.features(pyramid, plan, self._detection)


class Keypoints:
    """The kind of job that finds the keypoints of a picture.

    Args:
        pictures: reads the pictures.
        engines: makes the engine of each job.
    """

    def __init__(self, pictures: Pictures, engines: Engines) -> None:
        self._pictures = pictures
        self._engines = engines

    async def plan(self, settings: DetectionSettings, source: Source) -> DetectionPlan:
        """Plans a search for keypoints; see `detection_plan`."""
        return await detection_plan(self._pictures, settings, [source])

    async def run(self, plan: DetectionPlan) -> AsyncGenerator[Progress | Detected, None]:
        """Yields progress, and the result last.

        Raises:
            InvalidImage: if the picture cannot be decoded.
            BlindsightError: see `RingEngine.transform`.
        """
        started = time.perf_counter()
        engine = self._engines.ring(plan.scheme)
        (picture,) = plan.pictures
        seen = await read(self._pictures, picture, engine.account)
        detector = Detector(engine, plan.settings.detection)
        with metrics.IMAGING_SECONDS.labels("keypoints", engine.account.scheme).time():
            async for progress in detector.run((seen, picture.octaves)):
                yield progress
            (features,) = detector.features
            drawn = await self._engines.crypto.decoders.run(tasks.DrawFeatures(seen.shown, features))
        engine.account.total_seconds = time.perf_counter() - started
        yield Detected(features, (picture.width, picture.height), drawn, engine.account)


async def read(pictures: Pictures, plan: PicturePlan, account: Account, prefix: str = "") -> Seen:
    """Returns a picture in the clear, in its planned size.

    Stored planes are decrypted in any case: later octaves begin with a level in the clear, and the picture
    is drawn.

    Args:
        account: the job's account, to which remarks are added.
        prefix: precedes each remark.
    """
    picture, size = await pictures.open(plan.picture), (plan.width, plan.height)
    if isinstance(picture, Plain):
        seen = await asyncio.to_thread(_reduced, picture, size)
    elif plan.decrypted:
        plain = await pictures.decrypted(picture, account, prefix + plan.decrypted)
        seen = await asyncio.to_thread(_reduced, plain, size)
    else:
        seen = await asyncio.to_thread(_reduced, await pictures.clear(picture), size)
        seen = replace(seen, stored=picture, remark=_BOTH)
    account.remarks += [f"{prefix}{seen.remark}"] if seen.remark else []
    return seen


def _reduced(picture: Plain, size: tuple[int, int]) -> Seen:
    """Returns a picture reduced to this width and height."""
    values = np.moveaxis(picture.planes, 0, 2)
    image = Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)
    width, height = image.size
    remarks = [picture.remark] if picture.remark else []
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        remarks.append(f"{width} x {height} pixels made {image.width} x {image.height}")
    return Seen(np.asarray(image), np.asarray(image.convert("L")), "; ".join(remarks))


def _woven(plan: OctavePlan, values: Values, scales: list[int]) -> list[Images]:
    """Interleaves results [kernels, 1, height, width] to the octave's images, each with its own scale."""
    phases = plan.phases**2
    return [
        plan.woven(part / np.float32(scale) for part in values[index * phases : (index + 1) * phases, 0])
        for index, scale in enumerate(scales)
    ]
