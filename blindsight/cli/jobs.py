"""`blindsight jobs`: bulk ingests, which continue whether or not a command watches them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json, Yes
from blindsight.errors import InvalidArgument, Unavailable

if TYPE_CHECKING:
    from blindsight.client import FailedItem, Import, ImportInfo, RemarkedItem, Vault

# More items than this are counted, not listed.
LISTED = 20
# Characters of an id on a terminal, and of a whole id; commands accept any unambiguous prefix.
_SHORT, _WHOLE = 8, 32
_ENDED = ("finished", "cancelled")
_STYLES = {"receiving": "cyan", "running": "cyan", "finished": "green", "cancelled": "yellow"}

app = typer.Typer(help="Bulk ingests: list, watch, cancel, try again.", no_args_is_help=True)

JobId = Annotated[
    str, typer.Argument(metavar="ID", help="Of the import, or how it begins.", show_default=False)
]


@app.command("list")
def list_(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List all bulk ingests, the newest first."""
    with options.vault(address) as vault:
        found = vault.imports()
    if as_json:
        output.document({"imports": [asdict(one) for one in found]})
        return
    if not found:
        output.answer("No imports yet; start one with `blindsight ingest NAME PATH... --bulk`.")
        return
    numbers = ("items", "stored", "duplicates", "failed")
    table = output.table("id", "collection", "state", *numbers, "begun", right=numbers)
    digits = _SHORT if output.stdout().is_terminal else _WHOLE
    for one in found:
        counts = (f"{count:,}" for count in (one.received, one.done, one.duplicates, one.failed))
        name = one.collection or "(deleted)"
        state = output.text((one.state, _STYLES[one.state]), (", waits", "yellow") if one.waiting else "")
        table.add_row(one.import_id[:digits], name, state, *counts, _briefly(one.created))
    output.show(table)


@app.command()
def show(job: JobId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show one bulk ingest, which of its items failed and why, and which are stored with a remark."""
    with options.vault(address) as vault:
        opened = _opened(vault, job)
        info, failed, remarked = opened.info(), list(opened.failed()), list(opened.remarked())
    if as_json:
        output.document(document(info, opened, failed, remarked))
        return
    output.show(
        output.facts(
            [
                ("import", info.import_id),
                ("collection", info.collection or "(deleted)"),
                ("request id", info.request_id),
                ("state", info.state),
                ("begun", _moment(info.created)),
                ("items", f"{info.received:,}"),
                *([("waits", info.waiting)] if info.waiting else []),
            ]
        )
    )
    show_end(info, failed, remarked)


@app.command()
def watch(job: JobId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Follow one bulk ingest to its end."""
    with options.vault(address) as vault:
        follow(_opened(vault, job), as_json=as_json)


@app.command()
def cancel(job: JobId, yes: Yes = False, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """End a bulk ingest: what is not stored yet is dropped, what is stored stays."""
    with options.vault(address) as vault:
        opened = _opened(vault, job)
        info = opened.info()
        if info.state not in _ENDED:
            into = f"Cancel the import into {info.collection or 'a deleted collection'}"
            output.confirm(f"{into}, and drop what is not stored yet?", "not cancelled", yes=yes)
        info = opened.cancel()
    if as_json:
        output.document(asdict(info))
    elif info.state == "cancelled":
        output.answer(f"Cancelled; {info.done:,} of {output.count(info.received, 'item')} stored.")
    else:
        output.answer(f"It is {info.state} already; nothing was cancelled.")


@app.command()
def retry(job: JobId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Try the failed items of a bulk ingest again."""
    with options.vault(address) as vault:
        opened = _opened(vault, job)
        retried = opened.retry()
    if as_json:
        output.document({"import_id": opened.import_id, "retried": retried})
    elif retried:
        output.answer(f"Trying {output.count(retried, 'item')} again; {following(opened)}.")
    else:
        output.answer("Nothing to try again: no failed item has its sealed original.")


@app.command()
def drop(job: JobId, yes: Yes = False, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Drop the sealed originals of failed items; they cannot be tried again."""
    with options.vault(address) as vault:
        opened = _opened(vault, job)
        failed = opened.info().failed
        if failed:
            of = output.count(failed, "failed item")
            output.confirm(f"Drop the sealed originals of {of}?", "not dropped", yes=yes)
        dropped = opened.drop_failed()
    if as_json:
        output.document({"import_id": opened.import_id, "dropped": dropped})
    else:
        output.answer(f"Dropped {output.count(dropped, 'sealed original')} of failed items.")


def _name(item: FailedItem | RemarkedItem) -> str:
    return item.name or f"item {item.number}"


def _opened(vault: Vault, text: str) -> Import:
    """Opens the import whose id is a text, or begins with it.

    Raises:
        InvalidArgument: if several ids begin with it.
    """
    if not 0 < len(text) < _WHOLE:
        return vault.get_import(text)
    found = [one.import_id for one in vault.imports() if one.import_id.startswith(text.lower())]
    if len(found) > 1:
        raise InvalidArgument(f"{len(found)} imports have ids that begin with {text}, want more of the id")
    return vault.get_import(found[0] if found else text)


def _moment(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}"


def _briefly(time: datetime) -> str:
    """Formats a time in at most eleven characters: with the time of day, in another year the date only."""
    here = time.astimezone()
    return f"{here:%m-%d %H:%M}" if here.year == datetime.now().astimezone().year else f"{here:%Y-%m-%d}"


def following(job: Import) -> str:
    """Returns a hint to the command that watches an import."""
    return f"`blindsight jobs watch {job.import_id[:_SHORT]}` follows it"


def follow(job: Import, *, as_json: bool) -> None:
    """Shows the progress of an import until it has ended, and then its result.

    Raises:
        output.Failure: if every item failed, or the import was cancelled.
    """
    try:
        info = watched(job)
    except (KeyboardInterrupt, Unavailable):
        output.note(f"the import goes on; {following(job)}")
        raise
    failed, remarked = list(job.failed()), list(job.remarked())
    if as_json:
        output.document(document(info, job, failed, remarked))
    else:
        show_end(info, failed, remarked)
    require_not_cancelled(info)
    if info.failed and info.failed == info.received:
        of = output.count(info.failed, "item")
        raise output.Failure(
            f"none of {of} could be taken; the first: {failed[0].message}", output.Reason.NOTHING_TAKEN
        )


def watched(job: Import) -> ImportInfo:
    """Waits for the end of an import with a progress bar: items, rate, time left, failed items."""
    with output.meter(f"import {job.import_id[:_SHORT]}") as meter:

        def on_progress(now: ImportInfo) -> None:
            remarks = [f"{now.failed:,} failed"] if now.failed else []
            meter.update(
                now.settled, now.total, ", ".join([*remarks, now.waiting] if now.waiting else remarks)
            )

        return job.wait(progress=on_progress)


def require_not_cancelled(info: ImportInfo) -> None:
    """Checks that an import was not cancelled, so that the caller does not assume that its photos are stored.

    Raises:
        output.Failure: if it was cancelled.
    """
    if info.state == "cancelled":
        stored = f"{info.done + info.duplicates:,} of {output.count(info.received, 'item')}"
        raise output.Failure(f"the import was cancelled; {stored} stored", output.Reason.CANCELLED)


def document(
    info: ImportInfo, job: Import, failed: list[FailedItem], remarked: list[RemarkedItem]
) -> dict[str, object]:
    """Returns what --json prints for one import."""
    unreadable = [asdict(item) for item in job.unreadable]
    return {
        **asdict(info),
        "failed_items": [asdict(item) for item in failed],
        "remarked_items": [asdict(item) for item in remarked],
        **({"unreadable": unreadable} if unreadable else {}),
        **({"skipped": job.skipped} if job.skipped else {}),
    }


def show_end(info: ImportInfo, failed: list[FailedItem], remarked: list[RemarkedItem]) -> None:
    """Prints the counts of an import, and its first failed and remarked items."""
    output.listing(
        ("failed", "reason", "message"), [(_name(item), item.reason, item.message) for item in failed], LISTED
    )
    output.listing(("photo", "remark"), [(_name(item), item.remark) for item in remarked], LISTED)
    rest = info.received - info.settled
    of_rest = "not stored" if info.state == "cancelled" else "waiting"
    counts = output.text(
        (f"{info.done:,} stored", "green"),
        f", {output.count(info.duplicates, 'duplicate')}, ",
        (f"{info.failed:,} failed", "yellow" if info.failed else ""),
        f", {rest:,} {of_rest}" if rest else "",
    )
    output.show(counts)
