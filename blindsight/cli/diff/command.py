"""The command line of `blindsight diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import files, options, output, pictures, pixels
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json
from blindsight.cli.pixels import PixelRule
from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    from blindsight.client import Difference, PictureInput, Vault

DEFAULT_THRESHOLD = 25


Inputs = Annotated[
    list[Path] | None, typer.Argument(metavar="A B", help="Pictures of one size.", show_default=False)
]
Mode = Annotated[
    str,
    typer.Option(metavar="MODE", help="signed (A - B), absolute, or threshold (white where it is over it)."),
]
Threshold = Annotated[
    int | None,
    typer.Option(
        metavar="LEVEL", help=f"Of --mode threshold: 0 to 254, else {DEFAULT_THRESHOLD}.", show_default=False
    ),
]
Scheme = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEME",
        help="bfv, ckks, paillier, or scramble (no encryption); that of a stored photo, else bfv.",
        show_default=False,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Pictures of all that the server saw, and a page.", show_default=False),
]


def diff(
    to: pictures.Output,
    inputs: Inputs = None,
    mode: Mode = "signed",
    threshold: Threshold = None,
    scheme: Scheme = None,
    bits: pictures.KeyBits = None,
    rule: pictures.Rule = None,
    report: Report = None,
    grey: pictures.Grey = False,
    collection: pictures.Collection = None,
    ids: pictures.Ids = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Subtract one picture from another on a machine that sees ciphertexts only."""
    pixels.require_output(to)
    if threshold is not None and mode != "threshold":
        raise InvalidArgument(f"--threshold with --mode {mode}, want --mode threshold")
    first, second = pictures.chosen(inputs or (), collection, ids, 2)
    if report is not None:
        files.require_folder(report)
    with options.vault(address) as vault:
        with pictures.progress() as on_progress:
            answer = vault.diff(
                first,
                second,
                mode=mode,  # type: ignore[arg-type]  # the SDK's error lists the valid ones
                threshold=(DEFAULT_THRESHOLD if threshold is None else threshold)
                if mode == "threshold"
                else 0,
                scheme=scheme,
                colours="grey" if grey else "auto",
                key_bits=bits,
                server_views=report is not None,
                progress=on_progress,
            )
        page = None if report is None else _report(vault, report, (first, second), answer, rule)
    written = pictures.write(to, answer.values, answer.kind, rule)
    if as_json:
        output.document(as_document(mode, answer, written, page))
    else:
        _show(mode, answer, written, page)


def as_document(
    mode: str, answer: Difference, written: dict[str, str], page: Path | None
) -> dict[str, object]:
    """Returns what --json prints; the picture is in the file."""
    return {
        "mode": mode,
        "shape": list(answer.values.shape),
        "minimum": answer.minimum,
        "maximum": answer.maximum,
        "differing_values": answer.differing,
        "over_threshold": answer.over_threshold if mode == "threshold" else None,
        **pictures.account_document(answer.account),
        "output": written,
        "report": str(page) if page is not None else None,
    }


def _report(
    vault: Vault,
    folder: Path,
    inputs: tuple[PictureInput, PictureInput],
    answer: Difference,
    rule: PixelRule | None,
) -> Path:
    from blindsight.cli.diff import report  # imported late: Pillow is slow to import, and rarely needed

    return report.write(vault, folder, inputs, answer, rule)


def _show(mode: str, answer: Difference, written: dict[str, str], page: Path | None) -> None:
    pictures.show_warning(answer.account)
    count = answer.values.size
    rows = [
        ("result", f"{pictures.size(answer.values)}, A - B from {answer.minimum} to {answer.maximum}"),
        ("differing", f"{answer.differing:,} of {count:,} values"),
    ]
    if mode == "threshold":
        rows.append(("over threshold", f"{answer.over_threshold:,} of {count:,} values"))
    rows += [*pictures.account_facts(answer.account), ("written", f"{written['path']}: {written['pixels']}")]
    if page is not None:
        rows.append(("report", str(page)))
    output.show(output.facts(rows))
    pictures.show_time(answer.account)
