"""`blindsight collection`: create, list, describe, rename and delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import completion, options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json, Name, Yes
from blindsight.errors import DataLoss

if TYPE_CHECKING:
    from blindsight.client import CollectionInfo, Vault

app = typer.Typer(help="Create, list, describe, rename and delete collections.")


class MetricName(StrEnum):
    """The metrics of a collection."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"
    DOT = "dot"
    SQUARED_COSINE = "squared-cosine"


NewName = Annotated[str, typer.Argument(metavar="NAME", help="Of the collection.", show_default=False)]
Scheme = Annotated[
    str,
    typer.Option(
        metavar="SCHEME",
        help="ckks (approximate, fastest), bfv (exact), or paillier (shows queries to the server).",
        autocompletion=completion.among("ckks", "bfv", "paillier"),
    ),
]
ParameterSet = Annotated[
    str | None, typer.Option(metavar="SET", help="Of the scheme, such as bfv-8192.", show_default=False)
]
Embedder = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What photos are found by: descriptor, pixels, sift, external (your vectors), or none.",
        autocompletion=completion.among("descriptor", "pixels", "sift", "external", "none"),
    ),
]
Dimension = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Of a vector; needed with --embedder external and none.", show_default=False
    ),
]
Metric = Annotated[
    MetricName | None,
    typer.Option(help="What a score is: cosine, or with --channels squared-cosine.", show_default=False),
]
ExpectedSize = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="How many items it may have one day.", show_default=False),
]
MaxNorm = Annotated[
    float | None,
    typer.Option(metavar="NUMBER", help="Longest vector, for euclidean and dot.", show_default=False),
]
Channels = Annotated[
    str | None,
    typer.Option(
        metavar="CHANNELS",
        help="rgb or grey: embedder pixels keeps raw pixels, compared by channel.",
        show_default=False,
    ),
]
Size = Annotated[
    int | None,
    typer.Option(metavar="N", min=2, help="Side of the picture of embedder pixels.", show_default=False),
]
OtherName = Annotated[str, typer.Argument(metavar="NEW", help="The name it gets.", show_default=False)]
AliasName = Annotated[str, typer.Argument(metavar="ALIAS", help="A further name.", show_default=False)]
OldAlias = Annotated[
    str,
    typer.Argument(
        metavar="ALIAS",
        help="That goes.",
        show_default=False,
        autocompletion=completion.aliases,
    ),
]


@app.command("create")
def create(
    name: NewName,
    scheme: Scheme = "ckks",
    parameter_set: ParameterSet = None,
    embedder: Embedder = "descriptor",
    dimension: Dimension = None,
    metric: Metric = None,
    expected_size: ExpectedSize = None,
    max_norm: MaxNorm = None,
    channels: Channels = None,
    size: Size = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Add a collection and print its parameters."""
    with options.vault(address) as vault, output.spinner(f"creating {name}"):
        made = vault.create_collection(
            name,
            scheme=scheme,
            parameter_set=parameter_set,
            embedder=embedder,
            dimension=dimension,
            metric=metric.value if metric else None,
            expected_size=expected_size,
            max_norm=max_norm,
            channels=channels,
            size=size,
        ).describe()
    if as_json:
        output.document(asdict(made))
        return
    output.show(output.text("Created ", (made.name, "bold"), "."))
    output.show(output.facts(_parameters(made)))


@app.command("list")
def list_all(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List all collections."""
    with options.vault(address) as vault:
        found = vault.collections()
    if as_json:
        output.document({"collections": [asdict(one) for one in found]})
        return
    if not found:
        output.answer("No collections yet; make one with `blindsight collection create NAME`.")
        return
    output.show(summary(found))
    tell_damage(found)


@app.command("describe")
def describe(name: Name, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show one collection: its parameters and contents."""
    with options.vault(address) as vault:
        found = vault.collection(name).describe()
    if as_json:
        output.document(asdict(found))
        return
    output.show(output.text((found.name, "bold")))
    output.show(output.facts([*_parameters(found), *_content(found)]))


@app.command("delete")
def delete(
    name: Name,
    yes: Yes = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Remove a collection and everything in it."""
    with options.vault(address) as vault:
        items = _items(vault, name)
        told = output.count(items, "item") if items is not None else "all that is left of it"
        output.confirm(f"Delete {name} with {told}?", "not deleted", yes=yes)
        with output.spinner(f"deleting {name}"):
            vault.delete_collection(name)
    if as_json:
        output.document({"deleted": name, "items": items})
        return
    output.answer(f"Deleted {name} with {told}.")


@app.command("truncate")
def truncate(
    name: Name,
    yes: Yes = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Remove all items of a collection; its name and settings stay."""
    with options.vault(address) as vault:
        collection = vault.collection(name)
        told = output.count(collection.describe().items, "item")
        output.confirm(f"Remove all of {name}, {told}?", "nothing removed", yes=yes)
        with output.spinner(f"truncating {name}"):
            removed = collection.truncate()
    if as_json:
        output.document({"collection": name, "removed": removed})
        return
    output.answer(f"Removed {output.count(removed, 'item')}; {name} is empty.")


def _items(vault: Vault, name: str) -> int | None:
    """Returns the number of a collection's items; None if it is damaged."""
    try:
        return vault.collection(name).describe().items
    except DataLoss:
        return None


@app.command("rename")
def rename(
    name: Name,
    new: OtherName,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Give a collection another name; searches and ingests that are under way go on."""
    with options.vault(address) as vault:
        collection = vault.collection(name)
        collection.rename(new)
    if as_json:
        output.document({"collection": collection.name, "before": name})
        return
    output.answer(f"Renamed {name} to {collection.name}.")


@app.command("alias")
def alias(
    name: Name,
    alias: AliasName,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Let a collection be found by an alias, too; one of another collection moves."""
    with options.vault(address) as vault:
        vault.set_alias(alias, name)
    if as_json:
        output.document({"collection": name, "alias": alias})
        return
    output.answer(f"{alias} means {name}.")


@app.command("unalias")
def unalias(
    alias: OldAlias,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Remove an alias; its collection stays."""
    with options.vault(address) as vault:
        name = vault.remove_alias(alias)
    if as_json:
        output.document({"collection": name, "removed": alias})
        return
    output.answer(f"{alias} means {name} no more.")


@app.command("accept-rollback")
def accept_rollback(
    name: Name,
    yes: Yes = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Accept that storage has an older state of a collection, as after a restore of a backup."""
    with options.vault(address) as vault:
        question = f"Give up what was written to {name} since storage's state of it?"
        output.confirm(question, "not accepted", yes=yes)
        accepted = vault.accept_rollback(name)
    if as_json:
        output.document({"collection": name, **asdict(accepted)})
        return
    if not accepted.set_back:
        has = output.count(accepted.items, "item")
        output.answer(f"{name} was not set back, so nothing changed: it has {has}.")
        return
    output.answer(
        f"{name} has {output.count(accepted.items, 'item')} after {output.count(accepted.writes, 'write')} "
        f"now; before, the newest write that was seen was number {accepted.writes_before:,}."
    )


def tell_damage(found: Sequence[CollectionInfo]) -> None:
    """Prints a line for each collection that cannot be used, or not all of it."""
    for one in found:
        if one.damage:
            output.show(output.text((f"{one.name} cannot be used: {one.damage}", "bold red")))
        elif one.quarantined_items:
            items = output.count(one.quarantined_items, "item")
            output.show(output.text((f"{items} of {one.name} quarantined: see blindsight check", "yellow")))


def summary(found: list[CollectionInfo] | tuple[CollectionInfo, ...]) -> output.Table:
    """Returns a table of collections."""
    aliases = any(one.aliases for one in found)
    made = output.table(
        "collection", "items", "dimension", "metric", "embedder", "scheme", "planes", "on disk",
        *(["aliases"] if aliases else []),
        right=("items", "dimension", "planes", "on disk"),
    )  # fmt: skip
    for one in found:
        made.add_row(
            output.text((one.name, "bold")),
            f"{one.items:,}",
            str(one.dimension),
            one.metric,
            one.embedder,
            f"{one.scheme} (shows the query)" if one.query_visible_to_server else one.scheme,
            f"{one.plane_items:,}" if one.plane_items else "-",
            output.size(one.size_bytes),
            *([", ".join(one.aliases)] if aliases else []),
        )
    return made


def _parameters(one: CollectionInfo) -> list[tuple[str, str]]:
    norm = [("max norm", f"{one.max_norm:g}" if one.max_norm else "set by the first ingest")]
    return [
        ("scheme", f"{one.scheme}, {one.parameter_set}"),
        ("security", one.security),
        ("precision", one.precision),
        ("embedder", f"{one.embedder}, raw {one.channels} channels" if one.channels else one.embedder),
        ("dimension", str(one.dimension)),
        ("metric", one.metric),
        *(norm if one.metric in ("dot", "euclidean") else []),
        ("expected size", f"{one.expected_size:,}"),
        ("stride", str(one.stride)),
        ("search", "shows the query to the server" if one.query_visible_to_server else "hides the query"),
        ("score error", _error_bound(one.score_error_bound)),
        *([("aliases", ", ".join(one.aliases))] if one.aliases else []),
    ]


def _error_bound(bound: float) -> str:
    return (
        f"at most {bound:.1e}"
        if bound
        else "none: exact, then rounded to six decimals, or as many digits of short vectors"
    )


def _content(one: CollectionInfo) -> list[tuple[str, str]]:
    return [
        ("items", f"{one.items:,}"),
        ("in the tail", f"{one.tail_items:,}"),
        (
            "deleted",
            f"{one.deleted_items:,}" + (", in ciphertexts until a repack" if one.deleted_items else ""),
        ),
        *([("quarantined", f"{one.quarantined_items:,}, in no search")] if one.quarantined_items else []),
        *([("undescribed", f"{one.undescribed_items:,}, in no search")] if one.undescribed_items else []),
        *(
            [("planes", f"{output.count(one.plane_items, 'item')}, {output.size(one.plane_bytes)}")]
            if one.plane_items
            else []
        ),
        ("on disk", output.size(one.size_bytes)),
        ("created", output.moment(one.created)),
    ]
