"""`blindsight audit`: who did what with the vault, and whether the log of it is whole."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import options, output
from blindsight.cli.local.audit import offline
from blindsight.cli.local.keys import PassphraseFile
from blindsight.cli.moments import moment
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json

if TYPE_CHECKING:
    from blindsight.wire.audit import AuditRecord, AuditVerification

WRONG = 3
USUAL = 50
_PAGE = 1000

app = typer.Typer(help="Who did what with the vault: show, verify.", no_args_is_help=True)


@app.command("show")
def show(
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="From 90m, 12h or 30d ago on, or from a time as 2027-01-31T00:00:00Z.",
            show_default="the beginning",
        ),
    ] = "",
    token_id: Annotated[
        str,
        typer.Option("--token", metavar="ID", help="What its bearer did, alone.", show_default="all"),
    ] = "",
    collection: Annotated[
        str,
        typer.Option(
            "--collection",
            metavar="NAME",
            help="What was done to it, alone; one that is gone: its id, as in --json of before.",
            show_default="all",
        ),
    ] = "",
    last: Annotated[
        int,
        typer.Option("--last", metavar="N", min=0, help="So many of the newest; 0: all.", show_default=True),
    ] = USUAL,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show the audit log: who did what to which collection with which outcome, the newest last.

    For owners and auditors. A call that changes or reveals something has a record of its beginning and one of
    its end; others, and refused ones, are counted.
    """
    begins = moment("--since", since, before=True) if since else None
    found: list[AuditRecord] = []
    with options.vault(address) as vault, output.meter("reading the audit log") as meter:
        following: str | None = None
        while following != "":
            size = min(_PAGE, last - len(found)) if last else _PAGE
            page = vault.audit_page(
                since=begins, token_id=token_id, collection=collection, page_size=size, page_token=following
            )
            found += page.records
            following = page.next_page_token if not last or len(found) < last else ""
            meter.update(len(found), last, "")
    found.reverse()
    if as_json:
        output.document({"records": [asdict(one) for one in found]})
        return
    ended = {one.call for one in found if one.event == "ended"}
    numbers = ("items", "queries")
    table = output.table(
        "number", "time", "token", "role", "call", "of", *numbers, "outcome", right=("number", *numbers)
    )
    for one in found:
        if one.event == "begun" and one.call in ended:
            continue
        counts = (f"{count:,}" if count else "" for count in (one.items, one.queries))
        of = ", ".join(one.collections)
        table.add_row(
            str(one.number), output.moment(one.time), one.token, _who(one), _did(one), of, *counts, _how(one)
        )
    output.show(table)


def _did(one: AuditRecord) -> str:
    told = {
        "opened": "the keyholder started",
        "retired": f"records before {one.first} were deleted",
        "failed": "records could not be written",
    }
    times = f" ×{one.calls:,}" if one.calls > 1 else ""
    return told.get(one.event, one.rpc.rpartition("/")[2] + times)


def _who(one: AuditRecord) -> str:
    return f"{one.role} of {one.tenant[:8]}" if one.tenant else one.role


def _how(one: AuditRecord) -> str:
    return one.outcome or "begun"


@app.command("verify")
def verify(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            help="A keyholder's folder, or a copy of it: no keyholder is asked.",
            show_default="ask the keyholder",
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    expected: Annotated[
        str | None,
        typer.Option(
            "--expect",
            metavar="NUMBER:CHAIN",
            help="What a verification said before: that the log was set back since is noticed.",
            show_default="nothing",
        ),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Read the whole audit log, and say what was altered, dropped or cut off; exit code 3 if anything was.

    For owners and auditors. A copy of a keyholder's folder is verified with its passphrase, on any machine.
    """
    with output.meter("verifying the audit log") as meter:

        def follow(now: AuditVerification) -> None:
            meter.update(now.records, now.total, "")

        if folder is not None:
            found = offline(folder, passphrase_file, expected, follow)
        else:
            with options.vault(address) as vault:
                found = vault.verify_audit(expected=expected, progress=follow)
    if as_json:
        told = asdict(found)
        del told["total"], told["complete"]
        output.document(told)
    else:
        right = output.count(len(found.faults), "fault") if found.faults else "all right"
        output.answer(f"Records {found.first:,} to {found.last:,}: {right}.")
        for fault in found.faults:
            output.show(output.text((f"  {fault.what}", "bold red")))
        output.answer(f"To notice that it is set back: --expect {found.last}:{found.chain}")
    if found.faults:
        raise output.Failure(f"the audit log: {found.faults[0].what}", output.Reason.DAMAGED, WRONG)
