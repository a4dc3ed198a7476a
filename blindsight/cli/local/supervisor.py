"""Runs services as child processes: starts them, restarts what dies, and drains them in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blindsight.errors import Unavailable
from blindsight.runtime.backoff import Backoff

READY_SECONDS = 120.0
DRAIN_SECONDS = 15.0
MAX_LOG_BYTES = 50 << 20
# Dying this soon after a start is no accident; so many times in a row, and it is given up.
QUICK_SECONDS = 20.0
MAX_QUICK_DEATHS = 5
# A worker may die of what it is given; it is started again for ever, after at most this long.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 10.0
_LOG_TAIL_BYTES = 64 << 10

# What a child gets of this process's environment: what programs need to run, and nothing of ours.
_COMMON = {"HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"}
_COMMON_PREFIXES = ("LC_", "NUMBA_", "OMP_", "PYTHON", "XDG_")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to run a service.

    Attributes:
        name: "storage", "evaluator", "keyholder" or "worker-1" and so on.
        zone: "trusted" or "untrusted".
        folder: its own; it holds its data and its log.
        settings: by the names of its settings class, without the prefix.
        descriptors: open files that it inherits.
        serves: whether it has an address; what serves nobody may die as often as it likes.
    """

    name: str
    zone: str
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    serves: bool = True

    @property
    def kind(self) -> str:
        """Its name without a number."""
        return self.name.partition("-")[0]

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return f"services.{self.kind}"

    @property
    def log(self) -> Path:
        """Where its standard error goes."""
        return self.folder / ("log.jsonl" if self.serves else f"{self.name}.jsonl")


def environment(recipe: Recipe, address: str, own: Mapping[str, str]) -> dict[str, str]:
    """A service's environment: its own settings, and of ours no other.

    Args:
        recipe: of the service.
        address: where it is to serve.
        own: this process's environment; BLINDSIGHT_<SERVICE>_* of this service are passed on.
    """
    prefix = f"BLINDSIGHT_{recipe.kind.upper()}_"
    kept = {
        name: value
        for name, value in own.items()
        if name in _COMMON or name.startswith((*_COMMON_PREFIXES, prefix))
    }
    place = {"data": str(recipe.folder), "address": address} if recipe.serves else {}
    fixed = {**place, "die_with_parent": "true", **recipe.settings}
    return kept | {prefix + name.upper(): value for name, value in fixed.items()}


class Child:
    """One service process, restarted on the same port when it dies.

    Args:
        recipe: how to run it.
        address: where it is to serve; port 0 takes a free one at the first start.
        tell: called with a line for people when it dies and comes back.
    """

    def __init__(self, recipe: Recipe, address: str, tell: Callable[[str], None]) -> None:
        self.recipe = recipe
        self.address = address
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[None] | None = None

    @property
    def process_id(self) -> int:
        """Of the running process; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Starts the process and waits until it serves.

        Raises:
            Unavailable: with the service's own reason, when it ends or stays silent.
        """
        log = _open_log(self.recipe.log)
        try:
            written = os.fstat(log).st_size
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # whatever lies in the working folder is not imported
                "-m",
                self.recipe.module,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environment(self.recipe, self.address, os.environ),
                pass_fds=self.recipe.descriptors,
                # Ctrl-C goes to the process group of the terminal; services are drained in order instead.
                start_new_session=True,
            )
        finally:
            os.close(log)
        ready = await self._first_line(self._process)
        if ready is None:
            await self.stop(grace_seconds=0)
            raise Unavailable(f"{self.recipe.name} did not start: {_reason(self.recipe, written)}")
        self.address = ready
        self._output = asyncio.create_task(_discard(self._process))

    async def _first_line(self, process: asyncio.subprocess.Process) -> str | None:
        with contextlib.suppress(TimeoutError, ValueError, KeyError):
            async with asyncio.timeout(READY_SECONDS):
                line = await _output_of(process).readline()
            return str(json.loads(line)["address"])
        return None

    async def keep(self) -> None:
        """Waits for the process to die and starts it again, until it dies too often.

        Raises:
            Unavailable: when it is given up.
        """
        deaths, backoff = (
            0,
            Backoff(first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS, jitter=0),
        )
        while True:
            started = time.monotonic()
            how = _ending(await self._wait())
            if time.monotonic() - started >= QUICK_SECONDS:
                deaths = 0
                backoff.reset()
            deaths += 1
            while True:
                if deaths >= MAX_QUICK_DEATHS and self.recipe.serves:
                    raise Unavailable(f"{self.recipe.name} died {deaths} times in a row: {how}")
                place = f" on {self.address}" if self.recipe.serves else ""
                self._tell(f"{self.recipe.name} {how}; starting it again{place}")
                await asyncio.sleep(backoff.pause())
                try:
                    await self.start()
                except Unavailable as error:
                    deaths, how = deaths + 1, error.message
                else:
                    self._tell(f"{self.recipe.name} {'serves' if self.recipe.serves else 'works'} again")
                    break

    async def _wait(self) -> int:
        return await self._process.wait() if self._process is not None else 0

    async def stop(self, grace_seconds: float = DRAIN_SECONDS) -> None:
        """Asks the process to drain, and kills it when it takes too long."""
        process = self._process
        if process is None:
            return
        if process.returncode is None and grace_seconds > 0:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await process.wait()
        if process.returncode is None:
            process.kill()
        await process.wait()
        if self._output is not None:
            await self._output


async def drain(children: Sequence[Child], hurry: asyncio.Event) -> None:
    """Stops children one after the other; once `hurry` is set, at once."""
    for child in children:
        stopping = asyncio.create_task(child.stop())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({stopping, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait({stopping})
            await child.stop(grace_seconds=0)


def _open_log(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_suffix(".jsonl.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


async def _discard(process: asyncio.subprocess.Process) -> None:
    # A pipe that nobody reads would stop a child that prints.
    while await _output_of(process).read(1 << 16):
        pass


def _output_of(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise Unavailable("the service was started without a pipe for its output")
    return process.stdout


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _reason(recipe: Recipe, written: int) -> str:
    """The last line that the service wrote to its log since it was started."""
    with recipe.log.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(written, size - _LOG_TAIL_BYTES))
        lines = [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines or lines[-1].startswith("{"):
        return f"its log is {recipe.log}"
    return lines[-1].removeprefix(f"blindsight {recipe.kind}: ")
