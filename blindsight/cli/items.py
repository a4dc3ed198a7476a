"""`blindsight get`, `delete` and `repack`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import files, options, output, pixels
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json, Name, Where, Yes
from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    from blindsight.client import Collection, RepackProgress

# A new file without -o: this folder must be writable; and the format of pixels.
_HERE = Path("blindsight-get")
_PIXELS = ".png"

Item = Annotated[str, typer.Argument(metavar="ID", help="Of the photo.", show_default=False)]
To = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Where to write it; - is standard output. By default a new file in this folder, under the name "
        "that it was put in with.",
        show_default=False,
    ),
]
Planes = Annotated[
    bool, typer.Option("--planes", help="Its pixels, decrypted from its planes, as .png, .tif or .npy.")
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Of the items.", show_default=False)]


def get(
    name: Name,
    item: Item,
    to: To = None,
    planes: Planes = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Write a photo to a file, byte for byte as it was put in; or its pixels from its encrypted planes.

    Without -o no file is ever overwritten.
    """
    if planes:
        _get_planes(name, item, to, address, as_json)
        return
    alone = to is not None and files.is_standard_output(to)
    if alone and as_json:
        raise InvalidArgument("standard output cannot take both the photo and --json")
    if alone and sys.stdout.isatty():
        raise InvalidArgument("a photo is nothing for a terminal; want -o FILE, or a pipe")
    files.require_writable(to or _HERE)
    with options.vault(address) as vault, output.spinner(f"fetching {item}"):
        original = vault.collection(name).get(item)
    written = _write(to, files.safe_name(original.name or original.id, original.media_type), original.data)
    if alone:
        return
    if as_json:
        about = {"id": original.id, "name": original.name, "media_type": original.media_type}
        output.document({**about, "size_bytes": len(original.data), "file": str(written)})
        return
    called = f" ({original.name})" if original.name not in ("", str(written)) else ""
    output.answer(f"{written}: {output.size(len(original.data))}{called}")


def _write(to: Path | None, stored_name: str, data: bytes) -> Path:
    """Writes to a file, or else to a new one of the stored name; returns its path."""
    if to is not None:
        files.write(to, data)
        return to
    files.write_new(Path(stored_name), data)
    return Path(stored_name)


def _get_planes(name: str, item: str, given: Path | None, address: str, as_json: bool) -> None:
    if given is not None:
        pixels.require_output(given)
    with options.vault(address) as vault, output.spinner(f"decrypting {item}"):
        collection = vault.collection(name)
        stored_name = "" if given is not None else f"{_stem(collection, item)}{_PIXELS}"
        image = collection.planes(item)
    data = pixels.encode(image, given or Path(stored_name))
    to = _write(given, stored_name, data)
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    if as_json:
        geometry = {"id": item, "width": width, "height": height, "channels": channels}
        output.document({**geometry, "size_bytes": len(data), "file": str(to)})
        return
    kind = "grey" if channels == 1 else "RGB"
    output.answer(f"{to}: {width} x {height} {kind}, {output.size(len(data))}")


def _stem(collection: Collection, item: str) -> str:
    return Path(files.safe_name(collection.item(item).name or item, "")).stem


def delete(
    name: Name,
    ids: Ids = None,
    where: Where = None,
    yes: Yes = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Delete items, by id or all that --where passes; `repack` reclaims their space in ciphertexts."""
    if not ids and where is None:
        raise InvalidArgument("nothing to delete, want ID... or --where EXPR")
    if ids and where is not None:
        raise InvalidArgument("both ids and --where, want one of them")
    with options.vault(address) as vault:
        collection = vault.collection(name)
        _confirm(collection, ids, where, yes=yes)
        with output.spinner(f"deleting from {name}"):
            deletion = collection.delete(ids or None, where=where)
    if as_json:
        output.document({"deleted": deletion.deleted, "unknown_ids": list(deletion.unknown_ids)})
    else:
        output.answer(f"Deleted {deletion.deleted:,}.")
    output.require_known(deletion.unknown_ids, name)


def _confirm(collection: Collection, ids: list[str] | None, where: str | None, *, yes: bool) -> None:
    """Asks whether so many items shall go."""
    if yes:
        return
    told = output.count(len(set(ids)) if ids else collection.count(where), "item")
    output.confirm(f"Delete {told} of {collection.name}?", "not deleted", yes=yes)


def repack(name: Name, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Encrypt the tail and half-empty segments anew: smaller on disk, faster to search."""
    with options.vault(address) as vault, output.meter(f"repacking {name}") as meter:

        def follow(now: RepackProgress) -> None:
            meter.update(now.items_done, now.items_total)

        result = vault.collection(name).repack(progress=follow)
    if as_json:
        output.document(asdict(result))
        return
    if not result.segments_retired:
        output.answer("Nothing to repack.")
        return
    output.answer(
        f"{output.count(result.items_done, 'vector')} encrypted anew: "
        f"{output.count(result.segments_retired, 'segment')} retired, {result.segments_written:,} written."
    )
