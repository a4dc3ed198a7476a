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


Item = Annotated[str, typer.Argument(metavar="ID", help="Of the photo.", show_default=False)]
To = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FILE", help="Where to write it; - is standard output."),
]
Planes = Annotated[
    bool, typer.Option("--planes", help="Its pixels, decrypted from its planes, as .png, .tif or .npy.")
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Of the items.", show_default=False)]


def get(
    name: Name,
    item: Item,
    to: To,
    planes: Planes = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Write a photo to a file, byte for byte as it was put in; or its pixels from its encrypted planes."""
    if planes:
        _get_planes(name, item, to, address, as_json)
        return
    alone = files.is_standard_output(to)
    if alone and as_json:
        raise InvalidArgument("standard output cannot take both the photo and --json")
    if alone and sys.stdout.isatty():
        raise InvalidArgument("a photo is nothing for a terminal; want -o FILE, or a pipe")
    files.require_writable(to)
    with options.vault(address) as vault, output.spinner(f"fetching {item}"):
        original = vault.collection(name).get(item)
    files.write(to, original.data)
    if alone:
        return
    if as_json:
        about = {"id": original.id, "name": original.name, "media_type": original.media_type}
        output.document({**about, "size_bytes": len(original.data), "file": str(to)})
        return
    called = f" ({original.name})" if original.name else ""
    output.answer(f"{to}: {output.size(len(original.data))}{called}")


def _get_planes(name: str, item: str, to: Path, address: str, as_json: bool) -> None:
    pixels.require_output(to)
    with options.vault(address) as vault, output.spinner(f"decrypting {item}"):
        image = vault.collection(name).planes(item)
    data = pixels.encode(image, to)
    files.write(to, data)
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    if as_json:
        geometry = {"id": item, "width": width, "height": height, "channels": channels}
        output.document({**geometry, "size_bytes": len(data), "file": str(to)})
        return
    kind = "grey" if channels == 1 else "RGB"
    output.answer(f"{to}: {width} x {height} {kind}, {output.size(len(data))}")


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
    with options.vault(address) as vault:
        collection = vault.collection(name)
        if where is not None and not ids and not yes:
            _confirm(collection, where)
        with output.spinner(f"deleting from {name}"):
            deletion = collection.delete(ids or None, where=where)
    if as_json:
        output.document({"deleted": deletion.deleted, "unknown_ids": list(deletion.unknown_ids)})
    else:
        output.answer(f"Deleted {deletion.deleted:,}.")
    output.require_known(deletion.unknown_ids)


def _confirm(collection: Collection, where: str) -> None:
    """Asks on a terminal whether so many items shall go; elsewhere nobody can be asked."""
    if not output.interactive():
        raise InvalidArgument("--where deletes what it passes, and there is no terminal to ask; want --yes")
    told = output.count(collection.count(where), "item")
    output.confirm(f"Delete {told} of {collection.name}?", "not deleted")


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
        f"{output.count(result.items_done, 'item')} encrypted anew: "
        f"{output.count(result.segments_retired, 'segment')} retired, {result.segments_written:,} written."
    )
