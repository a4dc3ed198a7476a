"""Common parts of the image processing commands: input pictures, progress, results as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindsight.cli import files, output, pixels
from blindsight.cli.pixels import NUMPY, PixelRule, as_pixels
from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy.typing as npt

    from blindsight.client import ImagingAccount, ImagingProgress, PictureInput
    from blindsight.client.imaging import ImagingCallback
    from blindsight.wire.imaging import PictureKind

Image = Annotated[Path | None, typer.Argument(metavar="IMAGE", help="A picture.", show_default=False)]
Output = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FILE", help="OUT.png, .tif or .npy.", show_default=False),
]
Rule = Annotated[
    PixelRule | None,
    typer.Option(
        "--pixels",
        help="Negative values in OUT.png: offset (128 + half, the default), absolute or clip.",
        show_default=False,
    ),
]
Collection = Annotated[
    str | None,
    typer.Option("--collection", metavar="NAME", help="Where photos named by --id are.", show_default=False),
]
Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        metavar="ID",
        help="A photo that was ingested with planes; it counts after files.",
        show_default=False,
    ),
]
Grey = Annotated[bool, typer.Option("--grey", help="Take pictures as grey.")]
KeyBits = Annotated[
    int | None,
    typer.Option("--key-bits", metavar="N", help="Size of a key of paillier.", min=1, show_default=False),
]
_WHAT = {
    "wait": "waiting for memory",
    "keygen": "making a key",
    "encrypt": "encrypting",
    "compute": "computing",
    "decrypt": "decrypting",
    "finish": "finishing",
}
_STORED = {
    "in place": "computed with where they are",
    "decrypted": "not used as they are: see the note",
}
_WHOLE_TURN = 360


def chosen(
    paths: Sequence[Path], collection: str | None, ids: Sequence[str] | None, count: int
) -> list[PictureInput]:
    """Returns the input pictures: files, then stored photos.

    Raises:
        InvalidArgument: if their number is not `count`, or ids are given without a collection or vice versa.
    """
    from blindsight.client import StoredPhoto

    named = list(ids or ())
    if bool(named) != (collection is not None):
        raise InvalidArgument("a photo of a collection, want both --collection NAME and --id ID")
    if len(paths) + len(named) != count:
        wanted = "1 picture" if count == 1 else f"{count} pictures"
        raise InvalidArgument(
            f"{len(paths)} files and {len(named)} ids, want {wanted}: files, or --collection NAME --id ID"
        )
    return [*paths, *(StoredPhoto(collection or "", one) for one in named)]


@contextmanager
def progress() -> Iterator[ImagingCallback]:
    """Shows a progress bar for each stage while the block runs: stages differ much in speed."""
    with ExitStack() as shown:
        current: list[tuple[str, output.Meter]] = []

        def on_progress(made: ImagingProgress) -> None:
            if not current or current[-1][0] != made.stage:
                shown.close()
                meter = shown.enter_context(output.meter(_WHAT[made.stage], made.total))
                current.append((made.stage, meter))
            current[-1][1].update(made.done, made.total)

        yield on_progress


def shown(
    values: npt.NDArray[Any], kind: PictureKind, rule: PixelRule | None
) -> tuple[npt.NDArray[Any], str]:
    """Returns values as pixels, and a human-readable description of the conversion; empty for none."""
    if kind == "pixels":
        return values, ""
    if kind == "degrees":
        import numpy as np

        turned = (np.maximum(values, 0) * 256 // _WHOLE_TURN).astype(np.uint8)
        return turned, "a whole turn is 256 grey levels; black too where there is no direction"
    rule = rule or PixelRule.OFFSET
    made, clipped = as_pixels(values, rule)
    lost = f"{clipped:,} of {values.size:,} values did not fit" if clipped else "every value fits"
    return made, f"{_RULES[rule]}; {lost}"


_RULES = {
    PixelRule.CLIP: "clipped to 0 to 255",
    PixelRule.ABSOLUTE: "magnitudes, clipped at 255",
    PixelRule.OFFSET: "128 + half of each value, clipped to 0 to 255",
}


def write(path: Path, values: npt.NDArray[Any], kind: PictureKind, rule: PixelRule | None) -> dict[str, str]:
    """Writes a result; returns for display and --json its path and how values became pixels."""
    if path.suffix.lower() == NUMPY:
        files.write(path, pixels.encode(values, path))
        return {"path": str(path), "pixels": "exact"}
    made, done = shown(values, kind, rule)
    files.write(path, pixels.encode(made, path))
    return {"path": str(path), "pixels": done or "as they are"}


def size(values: npt.NDArray[Any]) -> str:
    """Returns the size of a picture as human-readable text."""
    height, width = values.shape[:2]
    return f"{width} x {height} {'grey' if values.ndim == 2 else 'RGB'}"


def account_document(account: ImagingAccount) -> dict[str, object]:
    """Returns what --json prints of a result's statistics."""
    plain = asdict(account)
    seconds = {name: round(plain.pop(name), 6) for name in list(plain) if name.endswith("_seconds")}
    return {**plain, "remarks": list(account.remarks), "timings_seconds": seconds}


def account_facts(account: ImagingAccount) -> list[tuple[str, str]]:
    """Returns a result's statistics as rows for display."""
    key = account.parameter_set or f"{account.key_bits} bits"
    sent, received = output.size(account.sent_bytes), output.size(account.received_bytes)
    trips = "1 round trip" if account.round_trips == 1 else f"{account.round_trips} round trips"
    return [
        ("scheme", f"{account.scheme}, {key}: {account.description}"),
        ("ciphertexts", f"{account.ciphertexts:,} in, {account.results:,} out in {trips}"),
        ("sent", f"{sent}, {received} received"),
        *([("stored planes", _STORED[account.stored])] if account.stored else []),
        *(("note", remark) for remark in account.remarks),
    ]


def show_warning(account: ImagingAccount) -> None:
    """Prints the warning of a result, if it has one; to be called before anything else is printed."""
    if account.warning:
        output.show(output.text(("warning: ", "bold red"), (account.warning, "red")))


def show_time(account: ImagingAccount) -> None:
    """Prints the total time of a result, and the working time of each stage."""
    busy = {
        "encrypt": account.encrypt_busy_seconds,
        "compute": account.compute_busy_seconds,
        "decrypt": account.decrypt_busy_seconds,
    }
    stages = ", ".join(f"{stage} {output.duration(seconds)}" for stage, seconds in busy.items())
    total = output.duration(account.total_seconds)
    output.show(output.text((total, "bold"), (f"  (of work, over all workers: {stages})", "dim")))
