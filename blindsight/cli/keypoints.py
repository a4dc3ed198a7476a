"""`blindsight keypoints`: SIFT of one picture, whose scale space is computed under encryption."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import files, options, output, pictures, pixels
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json
from blindsight.cli.pixels import NUMPY
from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    from blindsight.client import Keypoint, Keypoints

DEFAULT_SCALES = 3
DEFAULT_SIDE = 800
Scheme = Annotated[
    str | None, typer.Option(metavar="SCHEME", help="ckks (the default) or bfv.", show_default=False)
]
Octaves = Annotated[
    int | None, typer.Option(metavar="N", help="At most so many octaves; all by default.", show_default=False)
]
Scales = Annotated[int, typer.Option(metavar="N", help="Scales of an octave, 2 to 5.")]
Side = Annotated[int, typer.Option("--max-side", metavar="N", help="Larger pictures are made smaller first.")]


Descriptors = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="OUT.npy: what each looks like, 128 bytes as OpenCV's.", show_default=False
    ),
]


def keypoints(
    to: pictures.Output,
    image: pictures.Image = None,
    descriptors: Descriptors = None,
    scheme: Scheme = None,
    octaves: Octaves = None,
    scales: Scales = DEFAULT_SCALES,
    side: Side = DEFAULT_SIDE,
    collection: pictures.Collection = None,
    ids: pictures.Ids = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Find the keypoints of a picture: SIFT with an encrypted scale space, drawn as circles."""
    pixels.require_output(to)
    if descriptors is not None:
        _require_array(descriptors)
    (picture,) = pictures.chosen([image] if image else [], collection, ids, 1)
    with options.vault(address) as vault, pictures.progress() as on_progress:
        answer = vault.keypoints(
            picture, scheme=scheme, octaves=octaves, scales=scales, side=side, progress=on_progress
        )
    written = pictures.write(to, answer.drawn, "pixels", None)
    if descriptors is not None:
        files.write(descriptors, pixels.encode(answer.descriptors, descriptors))
    if as_json:
        output.document(as_document(answer, written, descriptors))
    else:
        _show(answer, written, descriptors)


def _require_array(path: Path) -> None:
    if path.suffix.lower() != NUMPY:
        raise InvalidArgument(f"descriptors go to an array: got {path.name}, want {NUMPY}")
    files.require_writable(path)


def as_document(answer: Keypoints, written: dict[str, str], descriptors: Path | None) -> dict[str, object]:
    """Returns what --json prints; the picture and the descriptors are in their files."""
    return {
        "width": answer.width,
        "height": answer.height,
        "keypoints": [_rounded(one) for one in answer.keypoints],
        **pictures.account_document(answer.account),
        "output": written,
        "descriptors": str(descriptors) if descriptors is not None else None,
    }


def _rounded(one: Keypoint) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(one).items()}


def _show(answer: Keypoints, written: dict[str, str], descriptors: Path | None) -> None:
    pictures.show_warning(answer.account)
    octaves = len({one.octave for one in answer.keypoints})
    rows = [
        (
            "keypoints",
            f"{len(answer.keypoints):,} in {octaves} octaves of {answer.width} x {answer.height} pixels",
        ),
        *pictures.account_facts(answer.account),
        ("written", written["path"]),
    ]
    if descriptors is not None:
        rows.append(("descriptors", str(descriptors)))
    output.show(output.facts(rows))
    pictures.show_time(answer.account)
