"""`blindsight filter`: a picture filtered under encryption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindsight.cli import arrays, options, output, pictures, pixels
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json
from blindsight.cli.pixels import NUMPY
from blindsight.errors import InvalidArgument
from blindsight.runtime import paths

if TYPE_CHECKING:
    from blindsight.client import Filtered, OperationInput

_CUSTOM = "custom:"
MAX_KERNEL_BYTES = 1 << 20


Operations = Annotated[
    list[str],
    typer.Option(
        "--op",
        metavar="OP",
        help="One after the other: box:SIZE, gaussian:SIZE[:SIGMA], sharpen, unsharp:SIZE:AMOUNT, "
        "emboss, laplacian, brightness:LEVELS, contrast:FACTOR, custom:FILE; sobel, scharr, prewitt or "
        "roberts, alone for the magnitude, or with :orientation, :x or :y; threshold:LEVEL or "
        "threshold:otsu; erode, dilate, open, close, gradient, top-hat or black-hat with :SIZE, "
        ":SIZE:ELEMENT (square, cross or disc) or :SIZE:ELEMENT:LEVELS (of grey; 256).",
        show_default=False,
    ),
]
Scheme = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEME",
        help="bfv (exact), ckks, or paillier (slow); that of a stored photo, else bfv.",
        show_default=False,
    ),
]
Border = Annotated[
    str | None,
    typer.Option(
        metavar="BORDER",
        help="What lies beyond the edge: reflect, constant (black) or replicate; by default reflect, and "
        "nothing for morphology, as in OpenCV.",
        show_default=False,
    ),
]


def filter_picture(
    to: pictures.Output,
    operations: Operations,
    image: pictures.Image = None,
    scheme: Scheme = None,
    border: Border = None,
    rule: pictures.Rule = None,
    bits: pictures.KeyBits = None,
    grey: pictures.Grey = False,
    collection: pictures.Collection = None,
    ids: pictures.Ids = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Filter a picture on a machine that sees ciphertexts only.

    Linear operations in a row are one round trip, an operation of morphology one or two; docs/imaging.md.

    The evaluator learns kernels and elements, and neither pixels nor thresholds.
    """
    pixels.require_output(to)
    (picture,) = pictures.chosen([image] if image else [], collection, ids, 1)
    listed = [_operation(one) for one in operations]
    with options.vault(address) as vault, pictures.progress() as on_progress:
        answer = vault.filter(
            picture,
            listed,
            scheme=scheme,
            border=border,  # type: ignore[arg-type]  # the SDK's error lists the valid ones
            colours="grey" if grey else "auto",
            key_bits=bits,
            progress=on_progress,
        )
    written = pictures.write(to, answer.values, answer.kind, rule)
    if as_json:
        output.document(as_document(operations, answer, written))
    else:
        _show(operations, answer, written)


def as_document(operations: list[str], answer: Filtered, written: dict[str, str]) -> dict[str, object]:
    """Returns what --json prints; the picture is in the file."""
    return {
        "operations": operations,
        "shape": list(answer.values.shape),
        "kind": answer.kind,
        "minimum": int(answer.values.min()),
        "maximum": int(answer.values.max()),
        "error_bound": answer.error_bound,
        "clipped_values": answer.clipped_values,
        "levels": answer.levels,
        **pictures.account_document(answer.account),
        "output": written,
    }


def _operation(text: str) -> OperationInput:
    if not text.startswith(_CUSTOM):
        return text
    file = text.removeprefix(_CUSTOM)
    if not file:
        raise InvalidArgument(f"operation {text!r} without a file, want {_CUSTOM}FILE")
    kernel: OperationInput = _kernel(Path(paths.at_home(file)))
    return kernel


def _kernel(path: Path) -> Any:
    """Reads a kernel from a .npy file, or from text with one row per line, separated by spaces or commas.

    Raises:
        InvalidArgument: if the file cannot be read, is too large, or does not hold numbers.
    """
    if path.suffix.lower() == NUMPY:
        return arrays.load_matrix(path)
    try:
        with paths.opened(path) as file:
            data = file.read(MAX_KERNEL_BYTES + 1)
        if len(data) > MAX_KERNEL_BYTES:
            raise InvalidArgument(f"{path} has over {MAX_KERNEL_BYTES} bytes, want a kernel")
        lines = data.decode().replace(",", " ").splitlines()
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is not UTF-8 text, want rows of numbers, or .npy") from None
    try:
        rows = [[float(number) for number in line.split()] for line in lines if line.strip()]
    except ValueError:
        raise InvalidArgument(f"{path} holds something else than numbers, want rows of them") from None
    if not rows:
        raise InvalidArgument(f"{path} is empty, want rows of numbers")
    return rows


def _show(operations: list[str], answer: Filtered, written: dict[str, str]) -> None:
    pictures.show_warning(answer.account)
    lowest, highest = int(answer.values.min()), int(answer.values.max())
    bound = f"at most {answer.error_bound:.2g} grey levels before rounding" if answer.error_bound else "none"
    hidden = "not hidden, but for thresholds" if "threshold" in " ".join(operations) else "not hidden"
    clipped = f", {answer.clipped_values:,} clipped" if answer.clipped_values else ""
    rows = [
        ("result", f"{pictures.size(answer.values)}, values from {lowest} to {highest}{clipped}"),
        ("operations", f"{', '.join(operations)} ({hidden})"),
        ("error", bound),
        *pictures.account_facts(answer.account),
        ("written", f"{written['path']}: {written['pixels']}"),
    ]
    output.show(output.facts(rows))
    pictures.show_time(answer.account)
