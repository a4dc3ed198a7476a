"""`blindsight match`: matching keypoints of two pictures, found under encryption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import options, output, pictures, pixels
from blindsight.cli.keypoints import DEFAULT_SCALES, DEFAULT_SIDE, Octaves, Scales, Scheme, Side
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json

if TYPE_CHECKING:
    from blindsight.client import Matching


Images = Annotated[list[Path] | None, typer.Argument(metavar="A B", help="Two pictures.", show_default=False)]
Ratio = Annotated[
    float, typer.Option(metavar="NUMBER", help="How much nearer the nearest must be than the second nearest.")
]
Encrypted = Annotated[
    bool,
    typer.Option("--encrypted-matching", help="Compare descriptors on the evaluator too, under encryption."),
]


def match(
    to: pictures.Output,
    images: Images = None,
    ratio: Ratio = 0.75,
    encrypted: Encrypted = False,
    scheme: Scheme = None,
    octaves: Octaves = None,
    scales: Scales = DEFAULT_SCALES,
    side: Side = DEFAULT_SIDE,
    collection: pictures.Collection = None,
    ids: pictures.Ids = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Find what two pictures have in common: SIFT with an encrypted scale space, drawn side by side."""
    pixels.require_output(to)
    first, second = pictures.chosen(images or (), collection, ids, 2)
    with options.vault(address) as vault, pictures.progress() as on_progress:
        answer = vault.match(
            first,
            second,
            ratio=ratio,
            encrypted=encrypted,
            scheme=scheme,
            octaves=octaves,
            scales=scales,
            side=side,
            progress=on_progress,
        )
    written = pictures.write(to, answer.drawn, "pixels", None)
    if as_json:
        output.document(as_document(answer, written))
    else:
        _show(answer, written)


def as_document(answer: Matching, written: dict[str, str]) -> dict[str, object]:
    """Returns what --json prints; the picture is in the file."""
    return {
        "keypoints_a": answer.keypoints_a,
        "keypoints_b": answer.keypoints_b,
        "inliers": answer.inliers,
        "verified": answer.verified,
        "homography": None if answer.homography is None else answer.homography.tolist(),
        "matches": [
            {"a": _place(one.a), "b": _place(one.b), "distance": round(one.distance, 4), "inlier": one.inlier}
            for one in answer.matches
        ],
        **pictures.account_document(answer.account),
        "output": written,
    }


def _place(point: tuple[float, float]) -> list[float]:
    return [round(value, 2) for value in point]


def _show(answer: Matching, written: dict[str, str]) -> None:
    pictures.show_warning(answer.account)
    verdict = (
        ("the same scene", "bold green")
        if answer.verified
        else ("nothing in common that tells", "bold yellow")
    )
    output.show(
        output.text(verdict, f": {answer.inliers} of {len(answer.matches)} matches agree on one view")
    )
    rows = [
        ("keypoints", f"{answer.keypoints_a:,} in A, {answer.keypoints_b:,} in B"),
        *pictures.account_facts(answer.account),
        ("written", written["path"]),
    ]
    output.show(output.facts(rows))
    pictures.show_time(answer.account)
