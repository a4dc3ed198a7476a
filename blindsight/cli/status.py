"""`blindsight status`: every service, whether it answers, and what it holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from blindsight.cli import collections, options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json

if TYPE_CHECKING:
    from blindsight.client import ServiceStatus, VaultStatus

ZONE_STYLES = {"trusted": "green", "untrusted": "yellow"}


def status(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """The state of all three services; exit code 1 when one does not answer."""
    with options.vault(address) as vault:
        state = vault.status()
    if as_json:
        output.document({"address": address, **asdict(state)})
    else:
        _show(address, state)
    if not state.reachable:
        lost = next(service for service in state.services if not service.reachable)
        raise output.Failure(f"{lost.name} is not reachable: {lost.error or 'no reason known'}")


def _show(address: str, state: VaultStatus) -> None:
    output.show(output.facts([("keyholder", address), ("key", state.key_id)]))
    services = output.table(
        "service", "zone", "state", "version", "collections", "items", "on disk", "memory",
        right=("collections", "items", "on disk", "memory"),
    )  # fmt: skip
    for service in state.services:
        services.add_row(*_row(service))
    output.show(services)
    for service in state.services:
        if service.alarm:
            output.show(output.text((f"{service.name}: {service.alarm}", "bold red")))
    if state.collections:
        output.show(collections.summary(state.collections))
        collections.tell_damage(state.collections)


def _row(service: ServiceStatus) -> list[output.Cell]:
    zone = output.text((service.zone, ZONE_STYLES.get(service.zone, "")))
    if not service.reachable:
        return [service.name, zone, output.text(("unreachable", "bold red"))]
    return [
        service.name,
        zone,
        output.text(("ready", "green")),
        service.version,
        f"{service.collections:,}",
        f"{service.items:,}",
        output.size(service.disk_bytes),
        output.size(service.memory_bytes),
    ]
