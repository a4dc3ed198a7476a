"""Synthetic JPEG files, as large and as slow to decode as those of a camera."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

WIDTH, HEIGHT = 640, 480
QUALITY = 88
VERSION = 1  # to be raised if the same seeds give other pictures
_FIELD = 1024  # side of the noise fields that photos are cut from
_FIELDS = 6
_CHUNK = 50
Bytes = npt.NDArray[np.uint8]


def gallery(count: int, seed: int, folder: Path, progress: Callable[[int], None]) -> list[Path]:
    """Makes the first `count` files of a seed, unless they exist; they stay for the next run.

    Args:
        folder: folder of all galleries.
        progress: called with the number of files that exist.

    Returns:
        Their paths, in order.
    """
    own = folder / f"blindsight-bench-jpegs-{VERSION}-{WIDTH}x{HEIGHT}-{seed}"
    own.mkdir(mode=0o700, exist_ok=True)
    paths = [own / f"{number:06d}.jpg" for number in range(count)]
    lacking = [number for number, path in enumerate(paths) if not path.exists()]
    parts = [lacking[start : start + _CHUNK] for start in range(0, len(lacking), _CHUNK)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        done = count - len(lacking)
        for made in pool.map(_make, [own] * len(parts), [seed] * len(parts), parts):
            done += made
            progress(done)
    return paths


def _make(folder: Path, seed: int, numbers: list[int]) -> int:
    for number in numbers:
        picture = Image.fromarray(_picture(seed, number))
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            picture.save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
        Path(file.name).replace(folder / f"{number:06d}.jpg")  # atomic: no partial files
    return len(numbers)


def _picture(seed: int, number: int) -> Bytes:
    """Returns uint8 [HEIGHT, WIDTH, 3]: brightness and two colours from noise fields."""
    random = np.random.default_rng((seed, number))
    light, red, blue = (_cut(random, seed) for _ in range(3))
    # Two regions with a sharp edge, like a skyline, of different brightness.
    ground = random.uniform(0.3, 1.0) + 0.5 * (_cut(random, seed) > random.uniform(-0.5, 0.5))
    light = 110 * ground + 45 * light
    channels = [light + 30 * red, light - 10 * red - 10 * blue, light + 30 * blue]
    return np.clip(np.stack(channels, axis=2), 0, 255).astype(np.uint8)


def _cut(random: np.random.Generator, seed: int) -> npt.NDArray[np.float32]:
    """Returns a part of one of the fields, flipped at random: float32 [HEIGHT, WIDTH]."""
    field = _field(seed, int(random.integers(_FIELDS)))
    top, left = random.integers(_FIELD - HEIGHT), random.integers(_FIELD - WIDTH)
    part = field[top : top + HEIGHT, left : left + WIDTH]
    return part[:: random.choice((-1, 1)), :: random.choice((-1, 1))]


@cache
def _field(seed: int, index: int) -> npt.NDArray[np.float32]:
    """Returns noise with a spectrum like that of natural images (Field, JOSA A 1987 has amplitude 1/f).

    Its amplitude falls with 1/f^1.5; mean 0, standard deviation 1.
    """
    random = np.random.default_rng((seed, index, VERSION))
    across, down = np.fft.rfftfreq(_FIELD), np.fft.fftfreq(_FIELD)[:, np.newaxis]
    frequency = np.hypot(across, down)
    frequency[0, 0] = np.inf
    shape = frequency.shape
    spectrum = (random.standard_normal(shape) + 1j * random.standard_normal(shape)) / frequency**1.5
    noise = np.fft.irfft2(spectrum, (_FIELD, _FIELD))
    return (noise / noise.std()).astype(np.float32)
