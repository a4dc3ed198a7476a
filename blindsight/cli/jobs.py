"""`blindsight jobs`: bulk ingests, which go on whether or not anybody watches."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from blindsight.cli import options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json

if TYPE_CHECKING:
    from blindsight.client import FailedItem, Import, ImportInfo

# More failed items than this are counted, not listed.
LISTED = 20
_STYLES = {"receiving": "cyan", "running": "cyan", "finished": "green", "cancelled": "yellow"}

app = typer.Typer(help="Bulk ingests: list, watch, cancel, try again.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="ID", help="Of the import.", show_default=False)]


@app.command("list")
def list_(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List all bulk ingests, the newest first."""
    with options.vault(address) as vault:
        found = vault.imports()
    if as_json:
        output.document([asdict(one) for one in found])
        return
    if not found:
        output.answer("No imports yet; start one with `blindsight ingest NAME PATH... --bulk`.")
        return
    numbers = ("items", "stored", "duplicates", "failed")
    table = output.table("id", "collection", "state", *numbers, "begun", right=numbers)
    for one in found:
        counts = (f"{count:,}" for count in (one.received, one.done, one.duplicates, one.failed))
        begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created_unix_seconds))
        name = Text(output.printable(one.collection) or "(deleted)")
        table.add_row(one.import_id, name, Text(one.state, style=_STYLES[one.state]), *counts, begun)
    output.show(table)


@app.command()
def show(job: JobId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show one bulk ingest, and which of its items failed and why."""
    with options.vault(address) as vault:
        opened = vault.get_import(job)
        info, failed = opened.info(), list(opened.failed())
    if as_json:
        output.document(document(info, failed))
        return
    output.show(
        output.facts(
            [
                ("import", info.import_id),
                ("collection", info.collection or "(deleted)"),
                ("request id", info.request_id),
                ("state", info.state),
                ("items", f"{info.received:,}"),
            ]
        )
    )
    show_end(info, failed)


@app.command()
def watch(job: JobId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Follow one bulk ingest to its end."""
    with options.vault(address) as vault:
        follow(vault.get_import(job), as_json=as_json)


@app.command()
def cancel(job: JobId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """End a bulk ingest: what is not stored yet is dropped, what is stored stays."""
    with options.vault(address) as vault:
        info = vault.get_import(job).cancel()
    if as_json:
        output.document(asdict(info))
    elif info.state == "cancelled":
        output.answer(f"Cancelled; {info.done:,} of {info.received:,} items are stored.")
    else:
        output.answer(f"It is {info.state} already; nothing was cancelled.")


@app.command()
def retry(job: JobId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Try the failed items of a bulk ingest again."""
    with options.vault(address) as vault:
        retried = vault.get_import(job).retry()
    if as_json:
        output.document({"import_id": job, "retried": retried})
    else:
        output.answer(f"{retried:,} items are tried again; `blindsight jobs watch {job}` follows them.")


@app.command()
def drop(job: JobId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Drop the sealed originals of failed items; they cannot be tried again."""
    with options.vault(address) as vault:
        dropped = vault.get_import(job).drop_failed()
    if as_json:
        output.document({"import_id": job, "dropped": dropped})
    else:
        output.answer(f"Dropped {dropped:,}.")


def follow(job: Import, *, as_json: bool) -> None:
    """Shows how far an import is until it has ended, and then what came of it.

    Raises:
        output.Failure: when nothing of it could be stored.
    """
    info = watched(job)
    failed = list(job.failed())
    if as_json:
        output.document(document(info, failed, job))
    else:
        show_end(info, failed)
    if info.failed and info.failed == info.received:
        raise output.Failure(f"none of {info.failed:,} items could be taken; the first: {failed[0].message}")


def watched(job: Import) -> ImportInfo:
    """Waits for the end with a bar: how many of how many, the rate, the time left, how many failed."""
    with output.meter(f"import {job.import_id[:8]}") as meter:

        def update(now: ImportInfo) -> None:
            meter.update(now.settled, now.total, f"{now.failed:,} failed" if now.failed else "")

        return job.wait(progress=update)


def document(info: ImportInfo, failed: list[FailedItem], job: Import | None = None) -> dict[str, object]:
    """What --json answers of one import."""
    unreadable = [asdict(item) for item in job.unreadable] if job is not None else []
    return {
        **asdict(info),
        "failed_items": [asdict(item) for item in failed],
        **({"unreadable": unreadable} if unreadable else {}),
    }


def show_end(info: ImportInfo, failed: list[FailedItem]) -> None:
    """Counts, and the first of the failed items."""
    if failed:
        table = output.table("failed", "reason", "message")
        for item in failed[:LISTED]:
            name = output.printable(item.name) or f"item {item.number}"
            table.add_row(Text(name), item.reason, Text(output.printable(item.message)))
        output.show(table)
    if len(failed) > LISTED:
        output.answer(f"... and {len(failed) - LISTED:,} more; --json lists all of them.")
    waiting = info.received - info.settled
    counts = Text.assemble(
        (f"{info.done:,} stored", "green"),
        f", {info.duplicates:,} duplicates, ",
        (f"{info.failed:,} failed", "yellow" if info.failed else ""),
        f", {waiting:,} not worked on" if waiting else "",
    )
    output.show(counts)
