"""`blindsight certificates`: the owner's certificate authority, and what it issues."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import output
from blindsight.cli.options import Json
from blindsight.runtime.roles import DAYS, RENEW_DAYS, Role

if TYPE_CHECKING:
    from blindsight.trusted.identity import Issued

_AUTHORITY = typer.Option(
    "--authority",
    envvar="BLINDSIGHT_AUTHORITY",
    metavar="DIR",
    help="The authority's folder.",
    show_default=False,
)
AuthorityFolder = Annotated[Path, _AUTHORITY]
Days = Annotated[float, typer.Option("--days", metavar="N", help="For how long, at most 825.")]

app = typer.Typer(
    help="The certificates by which services know each other: make, list, renew, revoke.",
    no_args_is_help=True,
)


@app.command("init")
def init(
    authority: AuthorityFolder,
    vault: Annotated[
        str | None,
        typer.Option(
            "--vault", metavar="NAME", help="The vault's name in certificates.", show_default="a random one"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a certificate authority in a new folder.

    Its key signs certificates of every role. Keep it on a trusted machine; no service needs it.
    """
    from blindsight.trusted.identity import Authority

    made = Authority.create(authority, vault)
    if as_json:
        output.document({"folder": str(authority), "vault": made.vault, "expires": made.expires})
    else:
        output.answer(f"{authority}: authority of {made.vault}, until {output.moment(made.expires)}")


@app.command("issue")
def issue(
    role: Annotated[
        Role, typer.Argument(metavar="ROLE", help=f"One of {', '.join(Role)}.", show_default=False)
    ],
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="For ca.crt, tls.crt and tls.key.", show_default=False),
    ],
    authority: AuthorityFolder,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="A name or address that clients use; repeat it.",
            show_default=False,
        ),
    ] = None,
    days: Days = DAYS,
    as_json: Json = False,
) -> None:
    """Issue a certificate with a new key into a folder, for one service or client.

    Give the folder to that service alone, and renew it in time.
    """
    from blindsight.trusted.identity import Authority

    made = Authority.open(authority).issue(role, folder, host or (), days)
    if as_json:
        output.document(asdict(made))
    else:
        output.answer(f"{folder}: {made.role}, until {output.moment(made.expires)}")


@app.command("list")
def list_(authority: AuthorityFolder, as_json: Json = False) -> None:
    """List what was issued: for whom, until when, where it was written, and whether it was revoked."""
    from blindsight.trusted.identity import Authority

    found = Authority.open(authority).issued()
    if as_json:
        output.document({"certificates": [asdict(one) for one in found]})
        return
    if not found:
        output.answer("None yet; issue one with `blindsight certificates issue ROLE FOLDER`.")
        return
    table = output.table("role", "hosts", "until", "folder", "serial")
    for one in found:
        table.add_row(one.role, ", ".join(one.hosts), _until(one), one.folder, one.serial)
    output.show(table)


@app.command("renew")
def renew(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="With certificates of this authority.", show_default=False),
    ],
    authority: AuthorityFolder,
    within: Annotated[
        float, typer.Option("--within", metavar="N", min=0, help="Renew what ends within so many days.")
    ] = RENEW_DAYS,
    days: Days = DAYS,
    as_json: Json = False,
) -> None:
    """Renew certificates, with new keys, that end soon or are revoked; others stay as they are.

    What runs with them takes the new ones by itself. Have it run once a day.
    """
    from blindsight.trusted.identity import Authority

    opened = Authority.open(authority)
    renewed = [made for one in folders if (made := opened.renew(one, days, within)) is not None]
    if as_json:
        output.document({"renewed": [asdict(one) for one in renewed]})
        return
    for one in renewed:
        output.answer(f"{one.folder}: {one.role}, until {output.moment(one.expires)}")
    if not renewed:
        output.answer(f"Nothing to renew: none is revoked or ends within {within:g} days.")


@app.command("revoke")
def revoke(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A serial number, the folder of a certificate, or a role: all of it.",
            show_default=False,
        ),
    ],
    authority: AuthorityFolder,
    as_json: Json = False,
) -> None:
    """Take certificates back: services refuse who shows them, at once and without a restart.

    Services on other machines do so once they have the authority's revoked.txt beside their ca.crt. Whose
    certificate was lost gets a new one, with a new key, from renew.
    """
    from blindsight.runtime.tls import REVOKED_FILE
    from blindsight.trusted.identity import Authority

    revoked = Authority.open(authority).revoke(name)
    if as_json:
        output.document({"revoked": [asdict(one) for one in revoked]})
        return
    for one in revoked:
        output.answer(f"revoked {one.serial}: {one.role}, {one.folder}")
    output.answer(f"Services on other machines need {authority / REVOKED_FILE} beside their ca.crt.")


def _until(one: Issued) -> str:
    ended = " (expired)" if one.expires <= datetime.now(UTC) else " (revoked)" if one.revoked else ""
    return f"{output.moment(one.expires)}{ended}"
