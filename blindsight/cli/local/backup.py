"""`blindsight backup` and `blindsight restore`: backups of a data folder with several services."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import options, output
from blindsight.cli.local.keys import KEY_FILE_NAME
from blindsight.cli.local.setup import GENERATED_NAME
from blindsight.cli.local.temporary import ended_in_order
from blindsight.cli.local.zones import Zone
from blindsight.cli.options import Json
from blindsight.cli.status import ZONE_STYLES
from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    from blindsight.backup.manifest import Manifest
    from blindsight.backup.parts import Kept, Service

_MIB = 1 << 20


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Empty, or to be made.", show_default=False)]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", envvar=options.DATA, help="That of `blindsight up`.", show_default=False
    ),
]
ZoneOption = Annotated[Zone, typer.Option("--zone", help="Of both zones, or of one.")]
WithPassphrase = Annotated[
    bool, typer.Option("--passphrase/--no-passphrase", help="With the passphrase that `up` generated.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Read a backup instead, and say whether it is whole.")]
Folders = Annotated[
    list[Path],
    typer.Argument(metavar="DIR...", help="A backup, or one of each zone.", show_default=False),
]
RestoreData = Annotated[
    Path, typer.Option("--data", metavar="DIR", envvar=options.DATA, help="Empty, or to be made.")
]


def backup(
    context: typer.Context,
    folder: Folder,
    data: Data = None,
    zone: ZoneOption = Zone.ALL,
    with_passphrase: WithPassphrase = True,
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Copy what a vault keeps, while it serves, into DIR.

    Keys, imports and the queue, and what storage has, all as they were at one moment.
    """
    source = context.get_parameter_source("data")
    typed = source is not None and source.name == "COMMANDLINE"
    if typed if verify else data is None:
        raise InvalidArgument("want --data DIR to back up, or --verify to read a backup")
    started = time.monotonic()
    if verify or data is None:
        with _metered("verifying") as report:
            found = _check(folder, report)
        _report("whole:", [folder], [found], started, as_json=as_json)
        return
    from blindsight.backup.saving import save

    left_out = () if with_passphrase else (GENERATED_NAME,)
    kept = [one for one in _kept(data, zone) if one.part.name not in left_out]
    with _metered("backing up") as report:
        made = save(kept, folder, report)
    _warn(folder, made)
    _report("backed up to", [folder], [made], started, as_json=as_json)


def restore(
    folders: Folders,
    data: RestoreData,
    as_json: Json = False,
) -> None:
    """Put a backup into an empty data folder, for `blindsight up --data DIR`.

    All of it is read and compared with its manifest before anything is written.
    """
    from blindsight.backup import restoring

    started = time.monotonic()
    with _metered("restoring") as report:
        found = restoring.restore(folders, _kept(data, Zone.ALL, folders), data, report)
    if _out_of_order(found):
        output.note(
            "storage's backup is older than the keyholder's: photos of finished imports may be missing"
        )
    _report("restored", folders, found, started, as_json=as_json, data=data)


def _check(folder: Path, report: Callable[[int, int], None]) -> Manifest:
    from blindsight.backup.checking import check

    return check(folder, _kept(Path(), Zone.ALL, [folder]), report)


def _kept(data: Path, zone: Zone, backups: Sequence[Path] = ()) -> list[Kept]:
    """Returns the parts that the services of a zone keep below a data folder, the keyholder's last.

    Args:
        backups: see `kept_by`.

    Services declare them in an entry point, so a machine with one zone needs no code of the other.

    Raises:
        InvalidArgument: if no service of a wanted zone is installed here.
    """
    from importlib.metadata import entry_points

    from blindsight.backup.parts import kept_by

    found: list[Service] = [one.load() for one in entry_points(group="blindsight.backup")]
    zones = {Zone.TRUSTED, Zone.UNTRUSTED} if zone == Zone.ALL else {zone}
    lacking = zones - {Zone(service.zone) for service in found}
    if lacking:
        raise InvalidArgument(
            f"no service of the {min(lacking)} zone is installed here: pip install 'blindsight-vault[all]'"
        )
    chosen = sorted(
        (service for service in found if service.zone in zones),
        key=lambda service: (service.zone == Zone.TRUSTED, service.name == "keyholder"),
    )
    return [one for service in chosen for one in kept_by(service, data / service.name, backups)]


@contextmanager
def _metered(what: str) -> Iterator[Callable[[int, int], None]]:
    with ended_in_order(), output.meter(f"{what}, MiB") as meter:
        yield lambda done, total: meter.update(-(-done // _MIB), -(-total // _MIB))


def _warn(folder: Path, made: Manifest) -> None:
    """Prints what the owner must know about a new backup: keys, passphrase, photos that it lacks."""
    names = {Path(entry.path).name for entry in made.files}
    if {KEY_FILE_NAME, GENERATED_NAME} <= names:
        output.note(f"{folder} has the keys and their passphrase; anyone who has it can read the whole vault")
    elif KEY_FILE_NAME in names:
        output.note(f"{folder} has the keys but not their passphrase; without it nothing opens")
    waiting = made.count("waiting")
    if waiting and not any(entry.path.startswith("queue/") for entry in made.files):
        output.note(f"{waiting:,} photos wait in a queue that is not in this data folder, nor in the backup")


def _out_of_order(found: Sequence[Manifest]) -> bool:
    """Returns whether storage was copied before the keyholder, which may then know photos that it lacks."""
    times = {entry.zone: one.created_unix_seconds for one in found for entry in one.files}
    return times.get(Zone.UNTRUSTED, 0) < times.get(Zone.TRUSTED, 0) and len(times) > 1


def _report(
    what: str,
    folders: Sequence[Path],
    found: Sequence[Manifest],
    started: float,
    *,
    as_json: bool,
    data: Path | None = None,
) -> None:
    seconds = time.monotonic() - started
    if as_json:
        backups = [_document(folder, one) for folder, one in zip(folders, found, strict=True)]
        place = {"data": str(data)} if data is not None else {}
        output.document({**place, "backups": backups, "seconds": seconds})
        return
    for folder, one in zip(folders, found, strict=True):
        _show(one)
        taken = f"{output.size(one.size_bytes)} of {output.moment(_created(one))}"
        output.answer(f"{what} {folder}, {taken}, in {output.duration(seconds)}")
    if data is not None:
        output.answer(f"start it with: blindsight up --data {shlex.quote(str(data))}")


def _document(folder: Path, one: Manifest) -> dict[str, object]:
    files = [asdict(entry) for entry in one.files]
    about = {"folder": str(folder), "version": one.version, "created": _created(one)}
    return {**about, "files": files, "size_bytes": one.size_bytes}


def _created(one: Manifest) -> datetime:
    return datetime.fromtimestamp(one.created_unix_seconds, UTC)


def _show(one: Manifest) -> None:
    files = output.table("file", "zone", "size", "holds", right=("size",))
    for entry in one.files:
        counts = ", ".join(f"{name}: {number:,}" for name, number in entry.counts.items())
        zone = output.text((entry.zone, ZONE_STYLES.get(entry.zone, "")))
        files.add_row(entry.path, zone, output.size(entry.size_bytes), counts)
    output.show(files)
