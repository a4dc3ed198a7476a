"""What `blindsight up` prepares for the services that it starts: folders, keys, certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blindsight.cli.local import setup
from blindsight.cli.local.fleet import QUEUE, WORKER, Plan, Trusted
from blindsight.cli.local.zones import Places, Zone, services_of
from blindsight.errors import InvalidArgument
from blindsight.runtime.addresses import is_loopback
from blindsight.runtime.roles import Role

_QUEUE_FILE_NAME = "ingest.db"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user chose.

    Attributes:
        data: the folder of everything.
        zone: which services run.
        address: the keyholder's, where it runs.
        places: where storage and evaluator serve; of the trusted zone alone, where they are.
        metrics_ports: by name of a service or worker; empty for none.
        workers: their number.
        queue: URL of the queue of bulk ingest; None: a file.
        passphrase_file: its path; None: one that is generated, or asked for.
        ask_passphrase: whether a first start asks for it.
    """

    data: Path
    zone: Zone
    address: str
    places: Places
    metrics_ports: Mapping[str, int]
    workers: int
    queue: str | None
    passphrase_file: Path | None
    ask_passphrase: bool


@contextmanager
def prepared(chosen: Choices) -> Iterator[Plan]:
    """Makes what is missing, and locks the data folder while the block runs.

    Raises:
        BlindsightError: if something cannot be made, or is missing or damaged and must not be made anew.
    """
    services = services_of(chosen.zone)
    if chosen.zone is Zone.UNTRUSTED:
        _require_no_secrets(chosen)
        with setup.folders(chosen.data, services) as folders:
            own = setup.Received({Role(name): folders[name] / setup.TLS for name in services})
            with own.issuing():
                yield Plan(chosen.zone, folders, chosen.places, own, chosen.metrics_ports, None)
        return
    with (
        setup.folders(chosen.data, (*services, QUEUE, WORKER, setup.AUTHORITY)) as folders,
        setup.passphrase(
            folders["keyholder"], chosen.passphrase_file, ask=chosen.ask_passphrase
        ) as passphrase,
    ):
        certificates = _certificates(chosen, folders)
        with certificates.issuing():
            setup.ensure_keys(folders["keyholder"], folders.get("storage"), passphrase)
        queue = chosen.queue or f"embedded:{folders[QUEUE] / _QUEUE_FILE_NAME}"
        trusted = Trusted(chosen.address, passphrase, queue, chosen.workers)
        yield Plan(chosen.zone, folders, chosen.places, certificates, chosen.metrics_ports, trusted)


def _require_no_secrets(chosen: Choices) -> None:
    """Refuses what a machine that is not trusted should not have.

    Raises:
        InvalidArgument: if the user gave any of it.
    """
    given = {
        "--passphrase-file": chosen.passphrase_file is not None,
        "--ask-passphrase": chosen.ask_passphrase,
        "--queue": chosen.queue is not None,
    }
    for option in (name for name, has in given.items() if has):
        raise InvalidArgument(f"{option} with --zone untrusted, want none: it is for the keyholder's machine")


def _certificates(chosen: Choices, folders: Mapping[str, Path]) -> setup.Certificates:
    """Returns the certificates of services and workers, of a broker over TLS, and of users elsewhere."""
    own = {Role(name): folders[name] / setup.TLS for name in (*services_of(chosen.zone), WORKER)}
    if (chosen.queue or "").startswith("amqps:"):
        own[Role.QUEUE] = folders[QUEUE] / setup.TLS
    if not is_loopback(chosen.address):
        own[Role.OWNER] = chosen.data.resolve() / Role.OWNER.value
    return setup.Certificates(folders[setup.AUTHORITY], own)
