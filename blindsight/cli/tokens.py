"""`blindsight tokens`: by which others use the vault, within limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from blindsight.cli import files, options, output
from blindsight.cli.moments import moment
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json
from blindsight.errors import InvalidArgument
from blindsight.wire.tokens import Reveal, TokenRole

if TYPE_CHECKING:
    from blindsight.client import Vault
    from blindsight.client.tokens import NewToken
    from blindsight.wire.tokens import Token

_ROLES = tuple(role.name.lower() for role in TokenRole)
_REVEALED = tuple(one.name.lower() for one in Reveal)
_SEARCHING = (TokenRole.OWNER, TokenRole.EDITOR, TokenRole.SEARCHER)

app = typer.Typer(help="Tokens for others, within limits: create, list, revoke.", no_args_is_help=True)


@app.command("create")
def create(
    role: Annotated[
        str,
        typer.Option("--role", metavar="ROLE", help=f"One of {', '.join(_ROLES)}.", show_default=False),
    ],
    collections: Annotated[
        str | None,
        typer.Option(
            "--collections",
            metavar="A,B",
            help="For which alone it holds; others do not exist for its bearer.",
            show_default="all",
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="WHEN",
            help="After 90m, 12h or 30d, or at a time as 2027-01-31T00:00:00Z.",
            show_default="never",
        ),
    ] = None,
    reveal: Annotated[
        str | None,
        typer.Option(
            "--reveal",
            metavar="WHAT",
            help=f"What searches tell a searcher: {', '.join(_REVEALED)}; scores of scheme bfv alone.",
            show_default="ranks",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="T",
            help="Of --reveal decisions: the worst score that passes.",
            show_default=False,
        ),
    ] = None,
    requests_per_second: Annotated[
        float | None,
        typer.Option(
            "--requests-per-second", metavar="R", help="Calls in the long run.", show_default="any number"
        ),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option("--burst", metavar="N", help="Calls at once.", show_default="those of a second"),
    ] = None,
    queries_per_day: Annotated[
        int | None,
        typer.Option(
            "--queries-per-day",
            metavar="N",
            help="Of searches and verifications, in a day of UTC.",
            show_default="any number",
        ),
    ] = None,
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
    label: Annotated[
        str, typer.Option("--label", metavar="TEXT", help="To tell it from others.", show_default="none")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Make a token, and print it: it is told this once.

    Roles: owner (everything), editor (store, change, delete, search), uploader (store what is not there yet),
    searcher (search, compare, fetch what was found), auditor (see that all is there). Its bearer names the
    file that it is in as --token-file or BLINDSIGHT_TOKEN_FILE.
    """
    # An empty text, as of a variable that nobody set, must not stand for all collections or for ever.
    until = moment("--expires", expires) if expires is not None else None
    names = [name.strip() for name in collections.split(",")] if collections is not None else None
    if names is not None and not all(names):
        raise InvalidArgument(f"--collections {collections!r}, want names with commas between them")
    file = files.new_private(output_file) if output_file is not None else nullcontext()
    with file as kept, options.vault(address) as vault:
        made = vault.create_token(
            role,
            collections=names,
            label=label,
            expires=until,
            reveal=reveal,
            requests_per_second=requests_per_second,
            burst=burst,
            queries_per_day=queries_per_day,
            threshold=threshold,
        )
        if kept is not None:
            _keep(vault, made, kept)
    if as_json:
        shown = {"token": made.token} if output_file is None else {"path": str(output_file)}
        output.document({**shown, **_document(made.about)})
    else:
        output.answer(made.token if output_file is None else f"Wrote {output_file}.")
        output.note(f"token {made.about.id}: {_described(made.about)}; nobody can tell it again")


@app.command("list")
def list_(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List all tokens: for what, within which limits, until when, and how many queries they asked today."""
    with options.vault(address) as vault:
        found = vault.tokens()
    if as_json:
        output.document({"tokens": list(map(_document, found))})
        return
    table = output.table("id", "role", "sees", "collections", "limits", "today", "created", "until", "label")
    for one in found:
        collections = ", ".join(one.collections) or "all"
        created, sees = output.moment(one.created), _sees(one) if one.role in _SEARCHING else ""
        today = f"{one.queries_today:,}" if one.queries_today else ""
        limits = ", ".join(_limits(one))
        table.add_row(one.id, _role(one), sees, collections, limits, today, created, _until(one), one.label)
    output.show(table)


@app.command("revoke")
def revoke(
    token_id: Annotated[
        str, typer.Argument(metavar="ID", help="Of the token, as listed.", show_default=False)
    ],
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Revoke a token: calls that show it fail from now on."""
    with options.vault(address) as vault:
        vault.revoke_token(token_id)
    if as_json:
        output.document({"revoked": token_id})
    else:
        output.answer(f"Revoked {token_id}.")


def _keep(vault: Vault, made: NewToken, file: BinaryIO) -> None:
    """Writes a new token to a file; one that cannot be written is revoked, since nobody has it."""
    try:
        file.write(f"{made.token}\n".encode())
        file.flush()
    except BaseException:
        vault.revoke_token(made.about.id)
        raise


def _document(token: Token) -> dict[str, Any]:
    return {**asdict(token), "role": _role(token), "reveal": token.reveal.name.lower()}


def _role(token: Token) -> str:
    return token.role.name.lower()


def _until(token: Token) -> str:
    if token.expires is None:
        return "never ends"
    ended = " (expired)" if token.expires <= datetime.now(UTC) else ""
    return f"{output.moment(token.expires)}{ended}"


def _described(token: Token) -> str:
    collections = ", ".join(token.collections) or "all collections"
    sees = f" who sees {_sees(token)}" if token.role is TokenRole.SEARCHER else ""
    ends = f"until {_until(token)}" if token.expires is not None else _until(token)
    limits = "".join(f", {one}" for one in _limits(token))
    return f"{_role(token)} of {collections}{sees}{limits}, {ends}"


def _sees(token: Token) -> str:
    by = f" by {token.threshold:g}" if token.threshold is not None else ""
    return f"{token.reveal.name.lower()}{by}"


def _limits(token: Token) -> Iterator[str]:
    if token.requests_per_second is not None:
        burst = f" ({token.burst:,} at once)" if token.burst is not None else ""
        yield f"{token.requests_per_second:g}/s{burst}"
    if token.queries_per_day is not None:
        yield f"{token.queries_per_day:,} queries/day"
