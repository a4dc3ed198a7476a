"""`blindsight keys rotate`: new keys for everything that the vault keeps, while it serves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindsight.cli import options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json
from blindsight.wire.keys import Rotation, RotationState

if TYPE_CHECKING:
    from blindsight.client import Vault

_PAUSE_SECONDS = 0.5
_SAID = {
    RotationState.NONE: "no rotation is under way",
    RotationState.COPYING: "copying",
    RotationState.SWITCHING: "switching to the new keys",
    RotationState.CLEARING: "deleting what the old keys sealed",
}


def rotate(
    status: Annotated[bool, typer.Option("--status", help="Only say how far it is.")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Give the vault new keys, move everything to them while it serves, and destroy the old ones.

    It goes on in the keyholder, also after a crash, or Ctrl-C here: the same command shows it again. At the
    end the keyholder restarts, which commands wait for. Until then storage needs twice the disk. Backups and
    exported keys of before do not open what is there after it.
    """
    with options.vault(address) as vault:
        begun = vault.rotation()
        if status:
            _answer(begun, as_json=as_json)
            return
        old = begun.key_id
        if begun.state is not RotationState.CLEARING:
            vault.rotate_keys()
        done = _followed(vault, old)
    if as_json:
        output.document(_document(done))
    else:
        output.answer(f"Rotated: key {done.key_id.hex()} has taken the place of {old.hex()}, which is gone.")


def _followed(vault: Vault, old: bytes) -> Rotation:
    """Shows how far a rotation is until it has ended.

    Raises:
        Failure: if it ended without new keys.
    """
    told = ""
    with output.meter("rotating, items") as meter:
        while True:
            now = vault.rotation()
            if now.state is RotationState.NONE:
                break
            if now.message != told:
                told = now.message
                if told:
                    output.note(told)
            if now.state is RotationState.COPYING:
                meter.update(now.items_copied, now.items_total)
            time.sleep(_PAUSE_SECONDS)
    if now.key_id == old:
        raise output.Failure("the rotation is gone: its files were removed", output.Reason.NOTHING_TAKEN)
    return now


def _answer(now: Rotation, *, as_json: bool) -> None:
    if as_json:
        output.document(_document(now))
        return
    copied = f", {now.items_copied:,} of {now.items_total:,} items" if now.items_total else ""
    waits = f"; {now.message}" if now.message else ""
    output.answer(f"key {now.key_id.hex()}: {_SAID[now.state]}{copied}{waits}")


def _document(now: Rotation) -> dict[str, Any]:
    return {
        "state": now.state.name.lower(),
        "key_id": now.key_id.hex(),
        "new_key_id": now.new_key_id.hex() or None,
        "items_copied": now.items_copied,
        "items_total": now.items_total,
        "message": now.message or None,
    }
