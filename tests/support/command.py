"""Runs the installed `blindsight` command: with pipes, in this process, on a terminal, and as `up`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from blindsight.cli import app, output
from support import answers

COMMAND = str(Path(sys.executable).with_name("blindsight"))
PATIENCE_SECONDS = 60
# Starts are most of what these tests wait for, and a worker is most of a start.
FEW_WORKERS = {
    "BLINDSIGHT_EVALUATOR_WORKERS": "1",
    "BLINDSIGHT_KEYHOLDER_WORKERS": "1",
    "BLINDSIGHT_WORKER_PROCESSES": "1",
}
# What a command says while it is slow, as on a machine that does much else: no test waits for it.
SO_FAR = re.compile(r"^blindsight: .*: \d+\.\d s so far\n", re.MULTILINE)
# Of `up`, for tests without bulk ingest.
NO_BULK = ("--workers", "0")


def environment(address: str | None = None, **extra: str) -> dict[str, str]:
    """This process's, without settings of Blindsight."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLINDSIGHT_")}
    # Nor those of the user's file.
    kept["BLINDSIGHT_CONFIG"] = ""
    return kept | ({"BLINDSIGHT_ADDRESS": address} if address else {}) | extra


def run(
    *arguments: str,
    address: str | None = None,
    stdin: Any = subprocess.DEVNULL,
    stdout: Any = subprocess.PIPE,
    text: bool = True,
    patience: float = PATIENCE_SECONDS,
    **extra: str,
) -> subprocess.CompletedProcess[Any]:
    """Runs a command to its end, in at most `patience` seconds; `extra` are environment variables."""
    done = subprocess.run(
        [COMMAND, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=text,
        env=environment(address, **extra),
        timeout=patience,
        check=False,
    )
    if text:
        done.stderr = SO_FAR.sub("", done.stderr)
    if text and stdout == subprocess.PIPE:
        answers.check(arguments, done.stdout, done.stderr, done.returncode)
    return done


_succeeded: set[str] = set()


def run_here(*arguments: str, address: str | None = None, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Runs a command to its end in this process: half a second of imports is most of what a process takes.

    As a process of its own runs each command until it has succeeded once, as what it imports must be seen
    to be all that it needs; and whatever is run with other options of `run`.
    """
    words = answers.command_of(arguments)
    if options or words not in _succeeded:
        done = run(*arguments, address=address, **options)
        if done.returncode == 0:
            _succeeded.add(words)
        return done
    for console in (output.stdout, output.stderr):
        console.cache_clear()
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in ("stdout", "stderr")]
    with (
        patch.dict(os.environ, environment(address), clear=True),
        Path(os.devnull).open() as nothing,
        patch.object(sys, "stdin", nothing),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
    ):
        code = app.run(arguments)
    printed = [stream.buffer.getvalue().decode() for stream in streams]
    answers.check(arguments, *printed, code)
    return subprocess.CompletedProcess(arguments, code, *printed)


@contextlib.contextmanager
def started(*arguments: str, address: str | None = None, **extra: str) -> Iterator[subprocess.Popen[str]]:
    """A running command; it is killed at the end if it still runs."""
    process = subprocess.Popen(
        [COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(address, **extra),
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@dataclass(frozen=True)
class Shown:
    """What a terminal saw, both streams in one."""

    returncode: int
    output: str


class Terminal:
    """A command on a terminal of its own.

    Args:
        answers: what is typed when a text appears, each once, in this order.
    """

    def __init__(
        self, *arguments: str, address: str | None = None, answers: dict[str, str] | None = None, **extra: str
    ) -> None:
        self._answers = list((answers or {}).items())
        self._seen = ""
        self._own, other = pty.openpty()
        try:
            self.process = subprocess.Popen(
                [COMMAND, *arguments],
                stdin=other,
                stdout=other,
                stderr=other,
                env=environment(address, TERM="xterm-256color", COLUMNS="120", **extra),
                start_new_session=True,
            )
        finally:
            os.close(other)

    def wait_for(self, text: str | None) -> str:
        """Reads until a text appears (None: until the command ends); returns everything so far."""
        try:
            return self._read_until(text)
        except BaseException:  # the tests that follow have no use for it
            self.process.kill()
            self.process.wait()
            os.close(self._own)
            raise

    def _read_until(self, text: str | None) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text is None or text not in self._seen:
            if time.monotonic() > deadline:
                raise AssertionError(f"{text!r} did not appear in {self._seen!r}")
            if not self._something_to_read():
                continue
            try:
                read = os.read(self._own, 65536)
            except OSError:  # how Linux says that the other side is closed
                read = b""
            if not read:
                break
            self._seen += read.decode("utf-8", "replace")
            if self._answers and self._answers[0][0] in self._seen:
                os.write(self._own, self._answers.pop(0)[1].encode())
        return self._seen

    def _something_to_read(self) -> bool:
        with selectors.DefaultSelector() as selector:  # `select` takes no descriptors above 1,023
            selector.register(self._own, selectors.EVENT_READ)
            return bool(selector.select(0.1))

    def close(self) -> Shown:
        """Waits for the end."""
        output = self.wait_for(None)
        code = self.process.wait(PATIENCE_SECONDS)
        os.close(self._own)
        return Shown(code, output)


def run_on_terminal(
    *arguments: str, address: str | None = None, answers: dict[str, str] | None = None, **extra: str
) -> Shown:
    """Runs a command to its end on a terminal of its own."""
    return Terminal(*arguments, address=address, answers=answers, **extra).close()


class Shell:
    """An interactive shell on a terminal of its own, which finds the command.

    Args:
        command: the shell, with options by which it reads none of the user's settings.
        home: the home, and the folder that it starts in.
    """

    def __init__(self, command: list[str], home: Path, **extra: str) -> None:
        self._own, other = pty.openpty()
        path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
        plain = {"PATH": path, "HOME": str(home), "TERM": "dumb", "COLUMNS": "120", "PS1": "> "}
        # A shell wants a terminal that controls it.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment(**plain, **extra),
            cwd=home,
        )
        os.close(other)
        self._seen = ""

    def type(self, text: str, until: str, patience: float = PATIENCE_SECONDS) -> str:
        """Types a text, and reads until a pattern appears; returns what appeared since the last time."""
        os.write(self._own, text.encode())
        deadline = time.monotonic() + patience
        while not re.search(until, self._seen):
            with selectors.DefaultSelector() as selector:
                selector.register(self._own, selectors.EVENT_READ)
                selector.select(max(0.0, deadline - time.monotonic()))
            if time.monotonic() > deadline:
                raise AssertionError(f"{until!r} did not appear in {self._seen!r}")
            self._seen += os.read(self._own, 65536).decode("utf-8", "replace")
        seen, self._seen = self._seen, ""
        return seen

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._own)


class Up:
    """`blindsight up --json` as a process.

    Attributes:
        address: the keyholder's.
        ready: the JSON line that it printed.
    """

    def __init__(self, data: Path, *arguments: str, port: int = 0, **extra: str) -> None:
        self.data = data
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [COMMAND, "up", "--data", str(data), "--port", str(port), "--json", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**{**FEW_WORKERS, **extra}),
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        line = self._output.readline()
        if not line:
            code = self.process.wait(PATIENCE_SECONDS)
            self._listener.join()
            raise AssertionError(f"up ended with {code}: {self.errors}")
        answers.check(("up", "--json"), line, "", 0)
        self.ready = json.loads(line)
        self.address: str = self.ready["address"]

    @property
    def _output(self) -> Any:
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def errors(self) -> str:
        """What it wrote to standard error until now."""
        return "".join(self.lines)

    def process_id(self, name: str) -> int:
        """Of a service, as it was at the start."""
        return int(self.ready["services"][name]["process_id"])

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))

    def ask_to_stop(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal to the command alone."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Waits for the end; returns the exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._listener.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.ask_to_stop()
        self.wait()
