"""`blindsight status`: every service, whether it answers, and what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import collections, options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json

if TYPE_CHECKING:
    from blindsight.client import Alarm, ServiceStatus, VaultStatus

ZONE_STYLES = {"trusted": "green", "untrusted": "yellow"}


# The untrusted side gave something else than it should.
WRONG = 3

Acknowledge = Annotated[
    bool, typer.Option("--acknowledge", help="End the alarms that are shown: you have seen them.")
]


def status(
    acknowledge: Acknowledge = False, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """The state of all three services; exit code 1 when one does not answer, or the keyholder was replaced.

    Exit code 3 when something is wrong with what is stored, or an alarm stands: an answer of the untrusted
    side was refused. Alarms stand until they are acknowledged.
    """
    with options.vault(address) as vault:
        state = vault.status()
        acknowledged = vault.acknowledge_alarms(state) if acknowledge else 0
    if as_json:
        output.document({"address": address, **asdict(state), "acknowledged": acknowledged})
    else:
        _show(address, state)
        if acknowledge:
            output.answer(f"{output.count(acknowledged, 'alarm')} acknowledged.")
    if not state.reachable:
        lost = next(service for service in state.services if not service.reachable)
        raise output.Failure(
            f"{lost.name} is not reachable: {lost.error or 'no reason known'}", output.Reason.UNAVAILABLE
        )
    if state.fenced:
        raise output.Failure(
            "this keyholder does nothing more, since another has taken over", output.Reason.FENCED
        )
    if replace(state, alarms=()).wrong:
        raise output.Failure(
            "something is wrong with what is stored: see above, and `blindsight check`",
            output.Reason.DAMAGED,
            WRONG,
        )
    if standing := len(state.alarms) - acknowledged:
        told = f"{output.count(standing, 'alarm')} since the last `blindsight status --acknowledge`"
        raise output.Failure(told, output.Reason.ALARM, WRONG)


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
    if state.alarms:
        output.show(_alarms(state.alarms))
    if state.collections:
        output.show(collections.summary(state.collections))
        collections.tell_damage(state.collections)


def _alarms(alarms: Sequence[Alarm]) -> output.Table:
    made = output.table("alarm", "refused", "first", "last", "why, the last time", right=("refused",))
    for one in alarms:
        made.add_row(
            output.text((one.collection, "bold")),
            f"{one.count:,}",
            output.moment(one.first),
            output.moment(one.last),
            one.message,
        )
    return made


def _row(service: ServiceStatus) -> list[output.Cell]:
    zone = output.text((service.zone, ZONE_STYLES.get(service.zone, "")))
    if not service.reachable:
        return [service.name, zone, output.text(("unreachable", "bold red"))]
    ready: list[output.Cell] = [service.name, zone, output.text(("ready", "green")), service.version]
    if not service.memory_bytes and service.zone == "untrusted":
        return ready  # a tenant is not told what others have there
    sizes = output.size(service.disk_bytes), output.size(service.memory_bytes) if service.memory_bytes else ""
    return [*ready, f"{service.collections:,}", f"{service.items:,}", *sizes]
