"""Measures filters, differences and keypoints under encryption, and compares them with naive Paillier.

    python bench/imaging.py

Starts the services as `blindsight up` does, requests each operation under each scheme through the SDK, and
checks every result against OpenCV.  The baseline is Paillier with one ciphertext per value, measured on a few
pixels and scaled up.  Writes all raw figures with a description of the machine as JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import imaging_report
import machine
import numpy as np
import numpy.typing as npt
from baselines import paillier_planes
from PIL import Image
from processes import own_cores, running
from progress import Progress, phase, say
from skimage import data
from written import write_document

import blindsight
from blindsight.client import ImagingProgress, Vault
from services.keyholder.imaging.engines import SCHEMES

RESULTS = Path(__file__).parent / "results"
LARGE = 1005, 642  # width, height
NEAR_PIXELS = 2.0
_OCTAVES = 7  # of Lowe's SIFT, from 512 x 512 down to 8 x 8
Figures = dict[str, Any]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Task:
    """One operation to measure.

    Attributes:
        what: human-readable name.
        schemes: schemes under which it is measured.
        run: requests it under a scheme, with a progress callback.
        judge: returns figures on the correctness of an answer.
        baseline: measures it with naive Paillier; None: not measured.
        seconds: target by scheme.
    """

    what: str
    schemes: Sequence[str]
    run: Callable[[Vault, str, Callable[[ImagingProgress], None]], Any]
    judge: Callable[[Any], Figures]
    baseline: Callable[[], Figures] | None
    seconds: dict[str, float]


def grey() -> Picture:
    """Returns a grey photo of 512 x 512."""
    return np.asarray(data.camera())


def pair() -> tuple[Picture, Picture]:
    """Returns two colour pictures of 1005 x 642."""
    one = np.asarray(Image.fromarray(data.coffee()).resize(LARGE, Image.Resampling.LANCZOS))
    return one, np.ascontiguousarray(one[:, ::-1])


def against(wanted: npt.NDArray[Any]) -> Callable[[Any], Figures]:
    """Returns a judge that computes the largest difference from OpenCV's result."""

    def judge(answer: Any) -> Figures:
        return {"largest_difference": int(np.abs(answer.values.astype(int) - wanted).max())}

    return judge


def filters(image: Picture) -> dict[str, Task]:
    """Returns the task of smoothing; the baseline's kernel is the same with integer weights."""
    line = np.array([1, 4, 6, 4, 1])
    return {
        "gaussian": Task(
            "5x5 Gaussian, 512x512",
            list(SCHEMES),
            lambda vault, scheme, told: vault.filter(image, "gaussian:5", scheme=scheme, progress=told),
            against(cv2.GaussianBlur(image, (5, 5), 0)),
            lambda: paillier_planes.filtered(image, np.outer(line, line), own_cores()),
            {"bfv": 1.0, "ckks": 1.0, "paillier": 60.0},
        )
    }


def erosions(image: Picture) -> dict[str, Task]:
    """Returns tasks of eroding a binary picture and grey levels; only the binary one has a baseline."""
    square = np.ones((3, 3), np.uint8)
    _, binary = cv2.threshold(image, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    sixteen = np.rint(np.rint(image / 17) * 17).astype(np.uint8)
    rows = {
        "erosion-binary": ("binary", ["threshold:otsu", "erode:3"], binary),
        "erosion-16": ("16 levels", ["erode:3:square:16"], sixteen),
        "erosion-256": ("256 levels", ["erode:3"], image),
    }

    def task(what: str, operations: list[str], source: Picture, *, alone: bool) -> Task:
        return Task(
            f"3x3 erosion, {what}, 512x512",
            [name for name in SCHEMES if alone or name != "paillier"],
            lambda vault, scheme, told: vault.filter(image, operations, scheme=scheme, progress=told),
            against(cv2.erode(source, square)),
            (lambda: paillier_planes.filtered(source // 255, square, own_cores())) if alone else None,
            {},
        )

    return {name: task(*row, alone=name == "erosion-binary") for name, row in rows.items()}


def differences() -> dict[str, Task]:
    """Returns the task of subtracting two colour pictures."""
    one, other = pair()
    return {
        "difference": Task(
            "difference, 1005x642 RGB",
            ["bfv", "ckks"],
            lambda vault, scheme, told: vault.diff(one, other, scheme=scheme, progress=told),
            against(one.astype(int) - other),
            lambda: paillier_planes.subtracted(one, other, own_cores()),
            {"bfv": 2.0},
        )
    }


def keypoints(image: Picture) -> dict[str, Task]:
    """Returns the task of SIFT, if the SDK has it."""
    if not hasattr(Vault, "keypoints"):
        return {}
    theirs = np.array([one.pt for one in cv2.SIFT_create().detect(image, None)])

    def judge(answer: Any) -> Figures:
        ours = np.array([(one.x, one.y) for one in answer.keypoints])
        apart = np.linalg.norm(ours[:, None] - theirs, axis=2)
        return {
            "keypoints": len(ours),
            "opencv_keypoints": len(theirs),
            "opencv_has": float((apart.min(axis=1) <= NEAR_PIXELS).mean()),
            "found_of_opencvs": float((apart.min(axis=0) <= NEAR_PIXELS).mean()),
        }

    return {
        "sift": Task(
            "SIFT, 512x512",
            ["ckks"],
            lambda vault, scheme, told: vault.keypoints(image, scheme=scheme, progress=told),
            judge,
            None,
            {"ckks": 10.0},
        )
    }


def encrypted(vault: Vault, task: Task, scheme: str, repeats: int) -> Figures:
    """Measures one operation under one scheme: a first call, then `repeats` calls, each of them judged."""
    calls = [_call(vault, task, scheme)]
    if scheme != "paillier":  # slow, and every call makes its own key: one call is enough
        calls += [_call(vault, task, scheme) for _ in range(repeats)]
    again = [call["client_seconds"] for call in calls[1:] or calls]
    return {
        "first_seconds": calls[0]["client_seconds"],
        "p50_seconds": float(np.percentile(again, 50)),
        "max_seconds": max(again),
        "judged": _worst([call.pop("judged") for call in calls]),
        "calls": calls,
    }


def _call(vault: Vault, task: Task, scheme: str) -> Figures:
    meters: dict[int, Progress] = {}  # round trips have totals of their own

    def told(progress: ImagingProgress) -> None:
        meters.setdefault(progress.total, Progress(progress.total, " results"))(progress.done)

    started = time.perf_counter()
    answer = task.run(vault, scheme, told)
    seconds = time.perf_counter() - started
    account = asdict(answer.account)
    return {"client_seconds": seconds, "account": account, "judged": task.judge(answer)}


def _worst(judged: Sequence[Figures]) -> Figures:
    """Returns the worst figures of all calls: the largest error, and the smallest of all else."""
    return {
        name: (max if name == "largest_difference" else min)(one[name] for one in judged)
        for name in judged[0]
    }


def baseline(task: Task) -> Figures:
    """Measures naive Paillier, and checks its results."""
    assert task.baseline is not None
    figures = task.baseline()
    if figures["largest_difference"]:
        raise RuntimeError(f"{task.what} value by value is off by {figures['largest_difference']}, want 0")
    return figures


def measure(options: argparse.Namespace) -> Figures:
    """Runs the whole benchmark; returns all figures."""
    document: Figures = {
        "benchmark": "imaging",
        "machine": machine.describe(),
        "note": options.note,
        "parameters": {"repeats": options.repeats, "schemes": list(SCHEMES)},
        "tasks": {},
    }
    image = grey()
    tasks = {**filters(image), **differences(), **erosions(image), **keypoints(image)}
    with running(options.scratch) as services, blindsight.connect(services.addresses["keyholder"]) as vault:
        for name, task in tasks.items():
            by_scheme = {}
            for scheme in task.schemes:
                with phase(f"{task.what}, {scheme}"):
                    by_scheme[scheme] = encrypted(vault, task, scheme, options.repeats)
            document["tasks"][name] = {"what": task.what, "aims": task.seconds, "schemes": by_scheme}
    for name, task in tasks.items():
        if task.baseline is not None:
            with phase(f"{task.what}, value by value (a sample)"):
                document["tasks"][name]["baseline"] = baseline(task)
    if "sift" in tasks:
        one = document["tasks"]["gaussian"]["baseline"]
        document["tasks"]["sift"]["baseline"] = paillier_planes.scale_space(one, _OCTAVES, own_cores())
    document["machine"]["load_average_after"] = machine.load_average()
    return document


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="after a first call (default %(default)s)")
    parser.add_argument("--note", default="", help="on the circumstances, kept with the figures")
    parser.add_argument("--out", type=Path, default=RESULTS / "imaging.json", help="default: %(default)s")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path("/var/tmp"),
        help="for the services, on a real disk (default %(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"{options.repeats} repeats, want at least 1")
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    document = measure(options)
    write_document(options.out, document)
    imaging_report.show(document)
    say(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
