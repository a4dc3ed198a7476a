"""`blindsight items`: what a collection has, one by one, and what is said of it."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindsight.cli import completion, files, metadata, options, output, pixels
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json, Name, Where
from blindsight.errors import InvalidArgument
from blindsight.runtime.printable import printable, rfc3339

if TYPE_CHECKING:
    from blindsight.client import Item
    from blindsight.wire.vectors import VectorLabel

app = typer.Typer(help="What a collection has, and what is said of it.", no_args_is_help=True)
# Of the values of one item in a list.
_SHOWN_CHARACTERS = 60

Limit = Annotated[int, typer.Option(metavar="N", min=1, help="How many items.")]
After = Annotated[
    str,
    typer.Option(
        "--after", metavar="TOKEN", help="Go on there: `next` of the --json before.", show_default=False
    ),
]
ByOrder = Annotated[
    str,
    typer.Option(
        "--order",
        metavar="added|id",
        help="By the time at which they came, or by id.",
        autocompletion=completion.among("added", "id"),
    ),
]
Reverse = Annotated[bool, typer.Option("--reverse", help="The last ones first.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Of the item.", show_default=False)]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Of the items.", show_default=False)]
To = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write it there instead, as .npy.", show_default=False
    ),
]
Index = Annotated[
    int, typer.Option(metavar="N", min=0, help="Which of its vectors, from 0, if it has several.")
]
Remove = Annotated[
    list[str] | None,
    typer.Option("--remove", metavar="KEY", help="A key that they lose.", show_default=False),
]


@app.command("list")
def list_items(
    name: Name,
    where: Where = None,
    limit: Limit = 100,
    after: After = "",
    order: ByOrder = "added",
    reverse: Reverse = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List the items of a collection, with what is said of them.  The server learns nothing of it."""
    with options.vault(address) as vault, output.spinner(f"listing {name}"):
        collection = vault.collection(name)
        found: list[Item] = []
        token = after
        while len(found) < limit:
            try:
                page = collection.page(
                    where, min(limit - len(found), 1000), token, order=_order(order), descending=reverse
                )
            except InvalidArgument as error:
                raise InvalidArgument(error.message.replace("page_token", "--after")) from None
            found += page.items
            token = page.next_page_token
            if not token:
                break
    if as_json:
        output.document({"items": [document(item) for item in found], "next": token or None})
        return
    if not found:
        output.answer("No items.")
        return
    listed = output.table("id", "name", "added", "size", "metadata", right=("size",))
    for item in found:
        listed.add_row(*_row(item))
    output.show(listed)
    if token:
        output.answer(f"... and more: --limit {10 * limit}, or --after {token}")


@app.command("show")
def show(name: Name, item: Id, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show one item, and what is said of it."""
    with options.vault(address) as vault, output.spinner(f"looking for {item}"):
        found = vault.collection(name).item(item)
    if as_json:
        output.document(document(found))
        return
    pairs = [("id", found.id), ("name", found.name), ("type", found.media_type)]
    if found.added is not None:
        pairs.append(("added", output.moment(found.added)))
    pairs += [("size", output.size(found.size_bytes) if found.size_bytes else ""), ("remark", found.remark)]
    pairs += [(key, metadata.shown(value)) for key, value in found.metadata.items()]
    pairs += [(f"vector {one.index}", label(one)) for one in found.vectors]
    output.show(output.facts([(what, value) for what, value in pairs if value]))


@app.command("vector")
def show_vector(
    name: Name,
    item: Id,
    to: To = None,
    index: Index = 0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show the vector of an item, as it can be told from its encrypted columns: rounded."""
    if to is not None:
        if to.suffix.lower() != pixels.NUMPY:
            raise InvalidArgument(f"a vector goes to an array: got {to.name or to}, want {pixels.NUMPY}")
        files.require_writable(to)
    with options.vault(address) as vault, output.spinner(f"decrypting the vector of {item}"):
        found = vault.collection(name).vector(item, index)
    if to is not None:
        files.write(to, pixels.encode(found.values, to))
    if as_json:
        written = {"file": str(to)} if to is not None else {"values": found.values.tolist()}
        vector = asdict(found.label) if found.label is not None else None
        about = {"id": item, "dimension": len(found.values), "precision": found.precision, "vector": vector}
        output.document({**about, **written})
    elif to is not None:
        output.answer(f"{to}: {output.count(len(found.values), 'value')} ({found.precision})")
    else:
        for value in found.values.tolist():
            output.answer(f"{value:.7g}")
        output.note(found.precision)


@app.command("count")
def count(name: Name, where: Where = None, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Count the items of a collection."""
    with options.vault(address) as vault, output.spinner(f"counting in {name}"):
        items = vault.collection(name).count(where)
    if as_json:
        output.document({"items": items})
    else:
        output.answer(output.count(items, "item"))


@app.command("set")
def set_metadata(
    name: Name,
    ids: Ids = None,
    where: Where = None,
    given: metadata.Set = None,
    remove: Remove = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Say something of items, or take it back: by id, or of all that --where passes.

    A key that an item has gets the new value; its other keys stay as they are.
    """
    values = metadata.parse(given)
    if not (values or remove):
        raise InvalidArgument("nothing to change, want --set KEY=VALUE or --remove KEY")
    if both := sorted(values.keys() & set(remove or ())):
        raise InvalidArgument(f"--set and --remove of {both[0]}, want one of them")
    with options.vault(address) as vault, output.spinner(f"changing {name}"):
        done = vault.collection(name).update(ids or None, where=where, set=values, remove=remove or ())
    if as_json:
        output.document(asdict(done))
    else:
        output.answer(f"Changed {output.count(done.updated, 'item')}.")
    output.require_known(done.unknown_ids, name)


def document(item: Item) -> dict[str, Any]:
    """Returns an item as --json prints it."""
    from blindsight.wire.metadata import to_json

    return {
        "id": item.id,
        "name": item.name,
        "media_type": item.media_type,
        "added": rfc3339(item.added) if item.added is not None else None,
        "size_bytes": item.size_bytes,
        "remark": item.remark,
        "metadata": to_json(item.metadata),
        "vectors": [asdict(one) for one in item.vectors],
    }


def label(vector: VectorLabel) -> str:
    """Returns which vector of an item it is, for people: its name, or its number, and its box."""
    box = vector.box
    where = f" at {box.left:g}, {box.top:g}, {box.width:g} x {box.height:g}" if box is not None else ""
    return (printable(vector.name) or f"vector {vector.index}") + where


def _order(order: str) -> Any:
    if order not in ("added", "id"):
        raise InvalidArgument(f"--order {order}, want added or id")
    return order


def _row(item: Item) -> list[str]:
    said = ", ".join(f"{key}={metadata.shown(value)}" for key, value in islice(item.metadata.items(), 8))
    if len(said) > _SHOWN_CHARACTERS:
        said = f"{said[: _SHOWN_CHARACTERS - 1]}…"
    vectors = output.count(len(item.vectors), "vector") if len(item.vectors) > 1 else ""
    return [
        item.id,
        item.name,
        output.moment(item.added) if item.added is not None else "",
        output.size(item.size_bytes) if item.size_bytes else "",
        "; ".join(filter(None, [said, vectors, item.remark])),
    ]
