"""`blindsight verify`: decides whether two photos, or a photo and an item, show the same thing."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindsight.cli import arrays, completion, listing, options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json
from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    from blindsight.client import Vault, Verification

_STAGES = ("embed", "encrypt", "compare", "decrypt")


class DistanceName(StrEnum):
    """The distances of a verification."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"


Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="A [B]", help="Two photos or two .npy vectors; one with --collection.", show_default=False
    ),
]
Collection = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Compare with an item of this collection.", show_default=False),
]
Item = Annotated[str | None, typer.Option("--id", metavar="ID", help="Of the item.", show_default=False)]
Metric = Annotated[
    DistanceName | None,
    typer.Option(help="1 - cosine similarity (default), or squared Euclidean.", show_default=False),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        metavar="DISTANCE",
        help="Largest distance that is the same. Default for photos: cosine 0.24, euclidean 0.48; "
        "for vectors Facenet-128's in DeepFace: cosine 0.4, euclidean 100 (10 squared).",
        show_default=False,
    ),
]
Scheme = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEME",
        help="ckks (default) or bfv (exact on rounded values).",
        show_default=False,
        autocompletion=completion.among("ckks", "bfv"),
    ),
]
ParameterSet = Annotated[
    str | None, typer.Option(metavar="SET", help="Of the scheme, such as bfv-8192.", show_default=False)
]
Embedder = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Of photos: descriptor (default) or pixels.",
        show_default=False,
        autocompletion=completion.among("descriptor", "pixels"),
    ),
]


def verify(
    inputs: Inputs,
    collection: Collection = None,
    item: Item = None,
    metric: Metric = None,
    threshold: Threshold = None,
    scheme: Scheme = None,
    parameter_set: ParameterSet = None,
    embedder: Embedder = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Tell whether photos are near duplicates, or vectors of the same thing, by their encrypted distance.

    A near duplicate is the same picture in another format, size or light, cropped by up to a tenth or turned
    by up to 3 degrees. Whether two photos show one scene, however it is turned, `blindsight match` tells.

    The exit code is 0 whether they are or not; 1 and 2 are errors.
    """
    settings = {
        "metric": metric.value if metric else None,
        "scheme": scheme,
        "parameter_set": parameter_set,
        "embedder": embedder,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    with options.vault(address) as vault, output.spinner("comparing"):
        loaded = [arrays.picture_or_array(path) for path in inputs]
        if collection is None and item is None:
            answer = _pair(vault, loaded, threshold, given)
        else:
            answer = _item(vault, collection, item, loaded, threshold, given)
    if as_json:
        output.document(as_document(answer))
    else:
        _show(answer, of_photos=isinstance(loaded[0], str | bytes))


def as_document(answer: Verification) -> dict[str, object]:
    """Returns what --json prints."""
    seconds = {name: round(value, 6) for name, value in answer.timings.seconds().items()}
    plain = {name: value for name, value in asdict(answer).items() if name != "timings"}
    return {**plain, "timings_seconds": seconds}


def _pair(vault: Vault, inputs: list[Any], threshold: float | None, given: dict[str, Any]) -> Verification:
    if len(inputs) != 2:
        raise InvalidArgument(f"{len(inputs)} inputs, want two photos or vectors, or --collection and --id")
    first, second = inputs
    return vault.verify(first, second, threshold=threshold, **given)


def _item(
    vault: Vault,
    collection: str | None,
    item: str | None,
    inputs: list[Any],
    threshold: float | None,
    given: dict[str, Any],
) -> Verification:
    if not collection or not item:
        raise InvalidArgument("want both --collection NAME and --id ID")
    if len(inputs) != 1:
        raise InvalidArgument(f"{len(inputs)} inputs, want one to compare with the item")
    if given:
        option = "--" + next(iter(given)).replace("_", "-")
        raise InvalidArgument(f"{option} is decided by the collection; leave it out")
    return vault.collection(collection).verify(item, inputs[0], threshold=threshold)


def _show(answer: Verification, *, of_photos: bool) -> None:
    yes, no = ("near duplicate", "no near duplicate") if of_photos else ("verified", "not verified")
    word, style, sign = (yes, "bold green", "<=") if answer.verified else (no, "bold red", ">")
    threshold = f"{answer.threshold:g}"
    kind = "squared Euclidean" if answer.metric == "euclidean" else answer.metric
    if answer.distance is None:
        told = f": the {kind} distance, which is not told, is {sign} threshold {threshold}"
    else:
        distance = f"{answer.distance:.6f}" if answer.metric == "cosine" else f"{answer.distance:.6g}"
        told = f": {kind} distance {distance} {sign} threshold {threshold}"
    line = output.text((word, style), told, (f" ({answer.threshold_source})", "dim"))
    if answer.vector is not None:
        line.append_text(output.text(f"; nearest is {listing.label(answer.vector)}"))
    output.stdout().print(line, soft_wrap=True)
    seconds = answer.timings.seconds()
    stages = [f"{stage} {output.duration(seconds[stage])}" for stage in _STAGES if seconds[stage] > 0]
    total = output.duration(answer.timings.total_seconds)
    output.show(output.text((total, "bold"), (f"  ({', '.join(stages)}; {answer.parameter_set})", "dim")))
