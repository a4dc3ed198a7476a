"""Two machines: network namespaces of a test's own, which reach each other and nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from support.servers import require


@dataclass(frozen=True)
class Machine:
    """A network namespace.

    Attributes:
        name: of the namespace.
        address: by which the other reaches it.
    """

    name: str
    address: str

    @property
    def within(self) -> Sequence[str]:
        """The command that runs another one there."""
        return (str(require("iproute2")), "netns", "exec", self.name)


@contextmanager
def two_machines(addresses: Mapping[str, str]) -> Iterator[dict[str, Machine]]:
    """Makes machines, by the names and addresses given, with a cable between them.

    Whatever still runs there at the end is killed.
    """
    ip = str(require("iproute2"))
    if os.geteuid() != 0:
        pytest.skip("network namespaces are made by root")

    def run(*words: str) -> str:
        return subprocess.run([ip, *words], check=True, capture_output=True, text=True).stdout

    made = {name: Machine(f"bs-{os.getpid()}-{name}", one) for name, one in addresses.items()}
    first, second = made.values()
    try:
        for one in made.values():
            run("netns", "add", one.name)
            run("-n", one.name, "link", "set", "lo", "up")
        cable = ("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", second.name)
        run("-n", first.name, *cable)
        for one in made.values():
            run("-n", one.name, "addr", "add", f"{one.address}/24", "dev", "eth0")
            run("-n", one.name, "link", "set", "eth0", "up")
        yield made
    finally:
        for one in made.values():
            for process in run("netns", "pids", one.name).split():
                subprocess.run(["kill", "-9", process], check=False, capture_output=True)
            run("netns", "delete", one.name)
