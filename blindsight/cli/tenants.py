"""`blindsight tenants`: vaults of others at the same keyholder, each with keys and collections of its own."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from blindsight.cli import files, options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json, Yes
from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    from blindsight.client.vault import Vault
    from blindsight.wire.tenants import Quotas, Tenant

_NO_LIMIT = "none"

app = typer.Typer(
    help="Vaults of others, with keys of their own, within quotas: create, list, set, delete.",
    no_args_is_help=True,
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Of the tenant, for you alone.", show_default=False)
]
Items = Annotated[
    str | None,
    typer.Option(
        "--items", metavar="N", help="Of all its collections, or none for no limit.", show_default="as it is"
    ),
]
Bytes = Annotated[
    str | None,
    typer.Option(
        "--bytes", metavar="N", help="That storage has of it, or none for no limit.", show_default="as it is"
    ),
]
PerSecond = Annotated[
    str | None,
    typer.Option(
        "--requests-per-second",
        metavar="R",
        help="On average, or none for no limit.",
        show_default="as it is",
    ),
]
HeavyJobs = Annotated[
    str | None,
    typer.Option(
        "--heavy-jobs",
        metavar="N",
        help="Ingests, image processing, sums, checks and repacks at once, or none for no limit.",
        show_default="as it is",
    ),
]

Collections = Annotated[
    str | None,
    typer.Option(
        "--max-collections",
        metavar="N",
        help="Collections at once, or none for no limit.",
        show_default="as it is",
    ),
]


@app.command("create")
def create(
    name: Name,
    items: Items = None,
    size_bytes: Bytes = None,
    requests_per_second: PerSecond = None,
    heavy_jobs: HeavyJobs = None,
    max_collections: Collections = None,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the token there, for you alone to read; a file that is there is not replaced.",
            show_default="standard output",
        ),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Make a tenant, and print the token of its owner: it is told this once.

    A tenant has keys, collections and tokens of its own, and sees nothing of others. Its owner names the
    token's file as --token-file or BLINDSIGHT_TOKEN_FILE, and makes more tokens with it. Without quotas it
    may use as much as there is.
    """
    limits = _limits(items, size_bytes, requests_per_second, heavy_jobs, max_collections)
    file = files.new_private(output_file) if output_file is not None else nullcontext()
    with file as kept, options.vault(address) as vault:
        with output.spinner("making keys"):
            made = vault.create_tenant(name, **limits)
        if kept is not None:
            _keep(vault, name, made.token, kept)
    if as_json:
        shown = {"token": made.token} if output_file is None else {"path": str(output_file)}
        output.document({**shown, "token_id": made.about.id, **_document(made.tenant)})
    else:
        output.answer(made.token if output_file is None else f"Wrote {output_file}.")
        output.note(f"tenant {name}: the token of its owner; nobody can tell it again")


@app.command("list")
def list_(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List all tenants, with what they use and may use."""
    with options.vault(address) as vault:
        found = vault.tenants()
    if as_json:
        output.document({"tenants": list(map(_document, found))})
        return
    table = output.table("name", "items", "bytes", "requests/s", "heavy jobs", "collections", "created", "id")
    for one in found:
        quotas = one.quotas
        table.add_row(
            one.name + (" (being deleted)" if one.deleting else ""),
            _of(one.items, quotas.items),
            _of(one.size_bytes, quotas.size_bytes),
            _limit(quotas.requests_per_second),
            _of(one.heavy_jobs, quotas.heavy_jobs),
            _limit(quotas.max_collections),
            output.moment(one.created),
            one.id,
        )
    output.show(table)


@app.command("set")
def set_(
    name: Name,
    items: Items = None,
    size_bytes: Bytes = None,
    requests_per_second: PerSecond = None,
    heavy_jobs: HeavyJobs = None,
    max_collections: Collections = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Change what a tenant may use; what it has already stays."""
    limits = _limits(items, size_bytes, requests_per_second, heavy_jobs, max_collections)
    if not limits:
        raise InvalidArgument(
            "nothing to change, want --items, --bytes, --requests-per-second, --heavy-jobs or "
            "--max-collections"
        )
    with options.vault(address) as vault:
        found = {one.name: one for one in vault.tenants()}
        before = asdict(found[name].quotas) if name in found else {}
        changed = vault.set_quotas(name, **{**before, **limits})
    if as_json:
        output.document(_document(changed))
    else:
        output.answer(f"{name}: {_described(changed.quotas)}")


@app.command("delete")
def delete(
    name: Name,
    yes: Yes = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Delete a tenant: its tokens, its keys, which nobody can bring back, and all its collections."""
    with options.vault(address) as vault:
        (told,) = [_use(one) for one in vault.tenants() if one.name == name] or ["what it has"]
        output.confirm(f"Destroy the keys of {name}, and delete {told}?", "not deleted", yes=yes)
        collections = vault.delete_tenant(name)
    if as_json:
        output.document({"deleted": name, "collections": collections})
    else:
        output.answer(f"Deleted {name}, with {output.count(collections, 'collection')}.")


def _keep(vault: Vault, name: str, token: str, file: BinaryIO) -> None:
    """Writes a new token to a file; the tenant of one that cannot be written is deleted: nobody has it."""
    try:
        file.write(f"{token}\n".encode())
        file.flush()
    except BaseException:
        vault.delete_tenant(name)
        raise


def _limits(
    items: str | None,
    size_bytes: str | None,
    requests_per_second: str | None,
    heavy_jobs: str | None,
    max_collections: str | None,
) -> dict[str, Any]:
    """Returns those of the quotas that were given, by the SDK's names."""
    given = {
        "items": _parsed("--items", items, int),
        "size_bytes": _parsed("--bytes", size_bytes, int),
        "requests_per_second": _parsed("--requests-per-second", requests_per_second, float),
        "heavy_jobs": _parsed("--heavy-jobs", heavy_jobs, int),
        "max_collections": _parsed("--max-collections", max_collections, int),
    }
    return {name: value for name, (value, was_given) in given.items() if was_given}


def _parsed(option: str, text: str | None, kind: type[int | float]) -> tuple[float | None, bool]:
    if text is None or text == _NO_LIMIT:
        return None, text is not None
    try:
        return kind(text), True
    except ValueError:
        raise InvalidArgument(f"{option} {text!r}, want a number, or {_NO_LIMIT} for no limit") from None


def _document(tenant: Tenant) -> dict[str, Any]:
    return asdict(tenant)


def _limit(quota: float | None) -> str:
    return "no limit" if quota is None else f"{quota:,}"


def _of(used: int | None, quota: int | None) -> str:
    return f"{'?' if used is None else format(used, ',')} of {_limit(quota)}"


def _use(tenant: Tenant) -> str:
    if tenant.items is None or tenant.size_bytes is None:
        return "what it has"
    return f"{tenant.items:,} items of {tenant.size_bytes:,} bytes"


def _described(quotas: Quotas) -> str:
    return ", ".join(
        (
            f"{_limit(quotas.items)} for items",
            f"{_limit(quotas.size_bytes)} for bytes",
            f"{_limit(quotas.requests_per_second)} for requests a second",
            f"{_limit(quotas.heavy_jobs)} for heavy jobs",
            f"{_limit(quotas.max_collections)} for collections",
        )
    )
