"""`blindsight combine`: sums and differences of pictures or arrays, computed under encryption."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindsight.cli import arrays, files, options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json
from blindsight.cli.pixels import PixelRule, as_pixels
from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy.typing as npt

    from blindsight.client import Combination, CombineProgress
    from blindsight.client.combining import CombineCallback

_STAGES = ("keygen", "encrypt", "compute", "decrypt")
_WHAT = {"keygen": "making a key", "encrypt": "encrypting", "compute": "adding", "decrypt": "decrypting"}
_OUTPUTS = (".npy", ".png")


Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="A B...", help="Pictures, or .npy arrays of integers, of one shape.", show_default=False
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="W,W...", help="An integer for each, such as 1,-1 (default: all 1).", show_default=False
    ),
]
Scheme = Annotated[str, typer.Option(metavar="SCHEME", help="An additive one; see `blindsight schemes`.")]
Bits = Annotated[
    int | None,
    typer.Option(
        "--key-bits",
        metavar="N",
        min=1,
        help="Size of the key; needed for most of lightphe-*.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="OUT.npy (int64, exact) or OUT.png.", show_default=False
    ),
]
Pixels = Annotated[
    PixelRule,
    typer.Option(
        help="Values in OUT.png: clip (0 to 255), absolute (magnitude, up to 255), "
        "offset (128 + half of it, up to 255)."
    ),
]
Grey = Annotated[bool, typer.Option("--grey", help="Take pictures as grey.")]
InsecureSmallKeys = Annotated[
    bool,
    typer.Option(
        "--insecure-small-keys", help="For lightphe-* only, to compare: keys that anybody can break."
    ),
]


def combine(
    inputs: Inputs,
    weights: Weights = None,
    scheme: Scheme = "paillier",
    bits: Bits = None,
    out: Out = None,
    pixels: Pixels = PixelRule.CLIP,
    grey: Grey = False,
    insecure_small_keys: InsecureSmallKeys = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Add up pictures or arrays, each times an integer, on a machine that sees ciphertexts only.

    --weights 1,-1 makes the difference of two.  The weights themselves are not hidden.
    """
    if out is not None and out.suffix.lower() not in _OUTPUTS:
        raise InvalidArgument(f"-o {out}, want a name that ends in {' or '.join(_OUTPUTS)}")
    if out is not None:
        files.require_writable(out)
    factors = _weights(weights)
    loaded = [arrays.picture_or_array(path) for path in inputs]
    with options.vault(address) as vault, _progress() as on_progress:
        answer = vault.combine(
            loaded,
            weights=factors,
            scheme=scheme,
            key_bits=bits,
            colours="grey" if grey else "auto",
            insecure_small_keys=insecure_small_keys,
            progress=on_progress,
        )
    written = _write(out, answer.values, pixels) if out is not None else None
    if as_json:
        output.document(as_document(answer, written))
    else:
        _show(answer, written)


def as_document(answer: Combination, written: dict[str, Any] | None) -> dict[str, object]:
    """Returns what --json prints; the values themselves are written to the file of -o."""
    return {
        "shape": list(answer.values.shape),
        "minimum": int(answer.values.min()),
        "maximum": int(answer.values.max()),
        "scheme": answer.scheme,
        "key_bits": answer.key_bits,
        "description": answer.description,
        "warning": answer.warning,
        "weights": list(answer.weights),
        "ciphertexts": answer.ciphertexts,
        "sent_bytes": answer.sent_bytes,
        "received_bytes": answer.received_bytes,
        "timings_seconds": {name: round(value, 6) for name, value in answer.timings.seconds().items()},
        "output": written,
    }


def _weights(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidArgument(f"weights {text!r}, want integers such as 1,-1") from None


@contextmanager
def _progress() -> Iterator[CombineCallback]:
    """Shows a progress bar for each stage while the block runs: stages differ much in speed."""
    with ExitStack() as shown:
        current: list[tuple[str, output.Meter]] = []

        def on_progress(progress: CombineProgress) -> None:
            if not current or current[-1][0] != progress.stage:
                shown.close()
                meter = shown.enter_context(output.meter(_WHAT[progress.stage], progress.total))
                current.append((progress.stage, meter))
            current[-1][1].update(progress.done, progress.total)

        yield on_progress


def _write(path: Path, values: npt.NDArray[Any], rule: PixelRule) -> dict[str, Any]:
    """Writes the result; returns for --json what was written, and how values became pixels."""
    import numpy as np

    data = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(data, values)
        files.write(path, data.getvalue())
        return {"path": str(path), "pixels": None, "clipped_values": 0}
    if values.ndim != 2 and values.shape[2:] != (3,):
        shape = " x ".join(map(str, values.shape))
        raise output.Failure(f"values of shape {shape} make no picture: use -o OUT.npy", "INVALID_ARGUMENT")
    from PIL import Image

    shown, clipped = as_pixels(values, rule)
    Image.fromarray(shown).save(data, "PNG")
    files.write(path, data.getvalue())
    return {"path": str(path), "pixels": rule.value, "clipped_values": clipped}


def _show(answer: Combination, written: dict[str, Any] | None) -> None:
    if answer.warning:
        output.show(output.text(("warning: ", "bold red"), (answer.warning, "red")))
    shape = " x ".join(map(str, answer.values.shape))
    terms = ", ".join(f"{weight:+d}" for weight in answer.weights)
    sent, received = output.size(answer.sent_bytes), output.size(answer.received_bytes)
    rows = [
        ("result", f"{shape} values from {answer.values.min():,} to {answer.values.max():,}"),
        ("weights", f"{terms} (not hidden)"),
        ("scheme", f"{answer.scheme}, {answer.key_bits} bits: {answer.description}"),
        ("ciphertexts", f"{answer.ciphertexts:,} an input; {sent} sent, {received} received"),
    ]
    if written is not None:
        rows.append(("written", _written(answer, written)))
    output.show(output.facts(rows))
    seconds = answer.timings.seconds()
    stages = ", ".join(f"{stage} {output.duration(seconds[stage])}" for stage in _STAGES)
    total = output.duration(answer.timings.total_seconds)
    output.show(output.text((total, "bold"), (f"  ({stages})", "dim")))


_RULES = {
    None: "exact",
    "clip": "clipped to 0 to 255",
    "absolute": "magnitudes, clipped at 255",
    "offset": "128 + half of each value, clipped to 0 to 255",
}


def _written(answer: Combination, written: dict[str, Any]) -> str:
    done = f"{written['path']}: {_RULES[written['pixels']]}"
    if written["pixels"] is None:
        return done
    return f"{done}; {written['clipped_values']:,} of {answer.values.size:,} values did not fit"
