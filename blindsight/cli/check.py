"""`blindsight check`: reads all that storage has, says what is right, damaged or lost, and repairs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json

if TYPE_CHECKING:
    from blindsight.client import CheckProgress, Vault

WRONG = 3
# Ids of lost items in text; --json has more.
_SHOWN = 5

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Collections; none: all.", show_default=False)
]


Repair = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Write damaged segments anew: from originals where there are any; what is lost for good is "
        "quarantined.",
    ),
]


def check(
    names: Names = None, repair: Repair = False, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Read all that storage has, and say what is damaged or lost; exit code 3 if anything is.

    Every batch, original and name is compared with what was written.  Nothing is changed without --repair.
    """
    with options.vault(address) as vault:
        found = {name: _checked(vault, name, repair=repair) for name in names or _all(vault)}
    damaged = sum(one.damaged for one in found.values())
    quarantined = sum(one.quarantined for one in found.values())
    if as_json:
        told = {name: asdict(one) for name, one in found.items()}
        output.document({"damaged": damaged, "quarantined": quarantined, "collections": told})
    else:
        _show(found)
    if damaged or quarantined:
        also = f", {quarantined:,} quarantined" if quarantined else ""
        raise output.Failure(f"{damaged:,} damaged or lost{also}", output.Reason.DAMAGED, WRONG)


def _all(vault: Vault) -> list[str]:
    # A status has no collections while storage is away; a list of them waits for it.
    names = [one.name for one in vault.collections()]
    return [*names, *vault.status().lost]


def _checked(vault: Vault, name: str, *, repair: bool) -> CheckProgress:
    with output.meter(f"checking {name}") as meter:

        def follow(now: CheckProgress) -> None:
            meter.update(now.done, now.total, "repairing" if now.repairs_total else "")

        return vault.collection(name).check(repair=repair, progress=follow)


def _show(found: dict[str, CheckProgress]) -> None:
    if not found:
        output.answer("No collections yet, so nothing to check.")
    for name, one in found.items():
        segments = output.count(one.segments_done, "segment")
        read = f"{segments} and {output.count(one.items_done, 'sealed item')} read"
        right = "nothing is damaged" if one.quarantined else "all right"
        if one.damaged:
            right = f"{one.damaged:,} damaged or lost"
        output.answer(f"{name}: {right}, {read}.")
        for damage in one.damages:
            output.show(output.text((f"  {damage.what}: {damage.message}", "bold red")))
        for line in _about_items(one):
            output.answer(f"  {line}")


def _about_items(one: CheckProgress) -> Iterator[str]:
    """Yields what becomes of items whose vectors are lost."""
    if one.rebuilt:
        yield f"{output.count(one.rebuilt, 'item')} made anew and searched again."
    if one.rebuildable:
        yield f"--repair would make {output.count(one.rebuildable, 'item')} anew from originals."
    if one.losing:
        yield f"--repair would quarantine {output.count(one.losing, 'item')}: kept, and in no search."
    if one.quarantined:
        yield f"{output.count(one.quarantined, 'item')} quarantined: kept, and in no search."
    if one.lost_ids:
        more = " ..." if len(one.lost_ids) > _SHOWN else ""
        yield f"Lost from searches: {', '.join(one.lost_ids[:_SHOWN])}{more}"
