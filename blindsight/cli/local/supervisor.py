"""Runs services as child processes: starts them, restarts those that die, and drains them in order."""

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

from blindsight.cli.local import compiled_code
from blindsight.cli.local.service_log import SAID, ServiceLog, parsed
from blindsight.errors import Unavailable
from blindsight.runtime.backoff import Backoff

# One that is dead is noticed at once; on a slow machine a first start compiles for minutes.
READY_SECONDS = 600.0
DRAIN_SECONDS = 15.0
# A service that dies this soon after its start, this many times in a row, is not started again.
QUICK_SECONDS = 20.0
MAX_QUICK_DEATHS = 5
# A worker may die because of a photo, so it is always started again, after a pause between these two.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 10.0
_LOG_TAIL_BYTES = 64 << 10
# For the last words of a process that has ended.
_LOG_SECONDS = 1.0

# The variables that a child inherits: those that programs need to run, and none of Blindsight's.
_COMMON = {"HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"}
_COMMON_PREFIXES = ("LC_", "NUMBA_", "OMP_", "PYTHON", "XDG_")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The description of a service process to run.

    Attributes:
        name: "storage", "evaluator", "keyholder" or "worker-1" and so on.
        zone: "trusted" or "untrusted".
        folder: folder of its data and its log.
        settings: settings by the names of its settings class, without the prefix.
        descriptors: open files that it inherits.
        serves: whether it has an address; a process without one is restarted however often it dies.
    """

    name: str
    zone: str
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    serves: bool = True

    @property
    def kind(self) -> str:
        """The name without a number."""
        return self.name.partition("-")[0]

    @property
    def module(self) -> str:
        """The module to run with `python -m`."""
        return f"services.{self.kind}"

    @property
    def log(self) -> Path:
        """The file of its standard error."""
        return self.folder / ("log.jsonl" if self.serves else f"{self.name}.jsonl")


def environment(recipe: Recipe, addresses: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Returns a service's environment variables: its own settings, and none of other services.

    Args:
        recipe: description of the service.
        addresses: where to serve, by setting.
        own: this process's environment, of which BLINDSIGHT_<SERVICE>_* of this service are passed on.
    """
    prefix = f"BLINDSIGHT_{recipe.kind.upper()}_"
    kept = {
        name: value
        for name, value in own.items()
        if name in _COMMON or name.startswith((*_COMMON_PREFIXES, prefix))
    }
    place = {"data": str(recipe.folder)} if recipe.serves else {}
    fixed = {**place, **addresses, "die_with_parent": "true", **recipe.settings}
    ours = {prefix + name.upper(): value for name, value in fixed.items()}
    return kept | compiled_code.variables(recipe.folder, kept) | ours


class Child:
    """A service process that is restarted on the same ports when it dies.

    Args:
        recipe: description of the service.
        addresses: where to serve, by setting; port 0 takes a free one at the first start.
        report: called with a human-readable line when it dies and when it is back.
    """

    def __init__(self, recipe: Recipe, addresses: Mapping[str, str], report: Callable[[str], None]) -> None:
        self.recipe = recipe
        self.addresses = addresses
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[None] | None = None
        self._log: ServiceLog | None = None

    @property
    def address(self) -> str:
        """Where it serves; "" for one that serves nothing."""
        return self.addresses.get("address", "")

    @property
    def process_id(self) -> int:
        """The id of the process; 0 if none was started."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Starts the process and waits until it serves.

        Raises:
            Unavailable: if it ends, or does not serve in time; with the service's own reason.
        """
        await self._finish_log()
        self._log = ServiceLog(self.recipe.log, self.recipe.kind)
        written = self._log.size_bytes
        said = self._log.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # nothing is imported from the working folder
                "-m",
                self.recipe.module,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=said,
                env=environment(self.recipe, self.addresses, os.environ),
                pass_fds=self.recipe.descriptors,
                # Keeps Ctrl-C from the services: it goes to the terminal's process group, but they must be
                # drained in order.
                start_new_session=True,
            )
        finally:
            os.close(said)
        ready = await self._first_line(self._process)
        if ready is None:
            await self.stop(grace_seconds=0)
            raise Unavailable(f"{self.recipe.name} did not start: {_reason(self.recipe, written)}")
        self.addresses = ready
        self._output = asyncio.create_task(_discard(self._process))

    async def _first_line(self, process: asyncio.subprocess.Process) -> Mapping[str, str] | None:
        with contextlib.suppress(TimeoutError, ValueError, KeyError):
            async with asyncio.timeout(READY_SECONDS):
                line = await _output_of(process).readline()
            told = json.loads(line)
            return {setting: str(told[setting]) for setting in self.addresses}
        return None

    async def keep(self) -> None:
        """Restarts the process whenever it dies; runs until cancelled.

        Raises:
            Unavailable: if a service dies or fails to start five times in a row, each within 20 seconds.
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
                    raise Unavailable(
                        f"{self.recipe.name} died {deaths} times in a row, "
                        f"each within {QUICK_SECONDS:g} s of its start: {how}"
                    )
                place = f" on {self.address}" if self.recipe.serves else ""
                self._report(f"{self.recipe.name} {how}; starting it again{place}")
                await asyncio.sleep(backoff.pause())
                try:
                    await self.start()
                except Unavailable as error:
                    deaths, how = deaths + 1, error.message.removeprefix(f"{self.recipe.name} ")
                else:
                    self._report(f"{self.recipe.name} {'serves' if self.recipe.serves else 'works'} again")
                    break

    async def _wait(self) -> int:
        return await self._process.wait() if self._process is not None else 0

    async def _finish_log(self) -> None:
        if self._log is not None:
            await asyncio.to_thread(self._log.finish, _LOG_SECONDS)

    async def stop(self, grace_seconds: float = DRAIN_SECONDS) -> None:
        """Asks the process to drain, and kills it if it takes longer than `grace_seconds`."""
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
        await self._finish_log()
        if self._output is not None:
            await self._output


async def drain(children: Sequence[Child], hurry: asyncio.Event) -> None:
    """Stops children one after the other; once `hurry` is set, kills them."""
    for child in children:
        stopping = asyncio.create_task(child.stop())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({stopping, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait({stopping})
            await child.stop(grace_seconds=0)


async def _discard(process: asyncio.subprocess.Process) -> None:
    # A child that prints would block on a full pipe.
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
    """Returns the last words of the service since its start; its log's path if they are an event."""
    with recipe.log.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(written, size - _LOG_TAIL_BYTES))
        lines = log.read().splitlines()
    last = parsed(lines[-1]) if lines else None
    if last is None or last["event"] != SAID:
        return f"its log is {recipe.log}"
    return str(last["message"]).removeprefix(f"blindsight {recipe.kind}: ")
