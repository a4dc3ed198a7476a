"""`blindsight check`: reads all that storage has, and says what is right, damaged or lost."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json

if TYPE_CHECKING:
    from blindsight.client import CheckProgress, Vault

WRONG = 3

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Collections; none: all.", show_default=False)
]


def check(names: Names = None, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Read all that storage has, and say what is damaged or lost; exit code 3 if anything is.

    Every batch, original and name is compared with what was written; nothing is changed.
    """
    with options.vault(address) as vault:
        found = {name: _checked(vault, name) for name in names or _all(vault)}
    damaged = sum(one.damaged for one in found.values())
    if as_json:
        told = {name: asdict(one) for name, one in found.items()}
        output.document({"damaged": damaged, "collections": told})
    else:
        _show(found)
    if damaged:
        raise output.Failure(f"{damaged:,} damaged or lost", WRONG)


def _all(vault: Vault) -> list[str]:
    state = vault.status()
    return [*(one.name for one in state.collections), *state.lost]


def _checked(vault: Vault, name: str) -> CheckProgress:
    with output.meter(f"checking {name}") as meter:

        def follow(now: CheckProgress) -> None:
            meter.update(now.segments_done + now.items_done, now.segments_total + now.items_total)

        return vault.collection(name).check(progress=follow)


def _show(found: dict[str, CheckProgress]) -> None:
    if not found:
        output.answer("No collections yet, so nothing to check.")
    for name, one in found.items():
        segments = output.count(one.segments_done, "segment")
        read = f"{segments} and {output.count(one.items_done, 'sealed item')} read"
        if not one.damaged:
            output.answer(f"{name}: all right, {read}.")
            continue
        output.answer(f"{name}: {one.damaged:,} damaged or lost, {read}.")
        for damage in one.damages:
            output.show(output.text((f"  {damage.what}: {damage.message}", "bold red")))
