"""Output of the commands: answers on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import cache
from pathlib import Path
from typing import Protocol

import typer
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from blindsight.runtime.printable import printable, rfc3339, shortened

# Progress without a terminal: the time to its first line, so that a short run writes none, and the interval.
FIRST_SECONDS, QUIET_SECONDS = 1.0, 10.0
# Characters of an error or a warning.  Few paths are longer than the first.
_MOST_OF_A_WORD, _MOST_OF_A_LINE = 300, 1500
# Of ids that were not found.
_NAMED = 5
_PIPE_WIDTH = 200


# What stands in a cell of a table or in a line: text as it is, or made by `text`.
Cell = str | Text


class Reason(StrEnum):
    """Why a command failed, beyond the reasons of `blindsight.errors`; stable, for programs."""

    ALARM = "ALARM"
    CANCELLED = "CANCELLED"
    DAMAGED = "DAMAGED"
    FENCED = "FENCED"
    FILE_ERROR = "FILE_ERROR"
    INTERRUPTED = "INTERRUPTED"
    NOT_CONFIRMED = "NOT_CONFIRMED"
    NOT_FOUND = "NOT_FOUND"
    NOTHING_TAKEN = "NOTHING_TAKEN"
    UNAVAILABLE = "UNAVAILABLE"
    UNEXPECTED = "UNEXPECTED"


class Failure(Exception):
    """Ends the command with one line and an exit code.

    Args:
        message: the line.
        reason: a `Reason`, or one of `blindsight.errors`.
        code: the exit code.
        metadata: short strings for programs.
    """

    def __init__(
        self, message: str, reason: str, code: int = 1, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.reason = str(reason)
        self.code = code
        self.metadata = dict(metadata or {})


class Loudness(IntEnum):
    """How much is said on standard error beside errors: with -q warnings alone, with -v every call."""

    QUIET = 0
    USUAL = 1
    VERBOSE = 2


_loudness = Loudness.USUAL


def set_loudness(loudness: Loudness) -> None:
    """Sets how much is said from now on."""
    global _loudness  # noqa: PLW0603 - one command runs in a process, and all of it has one
    _loudness = loudness
    log = logging.getLogger("blindsight.client")
    log.setLevel(logging.DEBUG if loudness is Loudness.VERBOSE else logging.WARNING)
    log.propagate = False
    log.handlers = [_Said()] if loudness is Loudness.VERBOSE else []


class _Said(logging.Handler):
    """Shows what the SDK logs."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


class Unread(Exception):
    """Ends the command: nobody reads its answer.  It is no OSError, of which Typer makes its own exit."""


class _Answers(Console):
    def on_broken_pipe(self) -> None:
        raise Unread


class _Notes(Console):
    def on_broken_pipe(self) -> None:
        """Goes on without notes: who does not read them may still read the answer."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


@cache
def stdout() -> Console:
    """Returns the console of answers; in a pipe its lines are wide enough for whole ids."""
    return _Answers(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


@cache
def stderr() -> Console:
    """Returns the console of progress and errors."""
    return _Notes(stderr=True, highlight=False)


def interactive() -> bool:
    """Returns whether a user can be asked; a daemon may have no standard input at all."""
    terminals = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
    return terminals and not _in_background()


def _in_background() -> bool:
    # The kernel stops a background job (`command &`) that reads from the terminal.
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp()
    except OSError:  # not this session's controlling terminal, so reading does not stop the process
        return False


def text(*parts: Cell | tuple[str, str]) -> Text:
    """Returns text for a terminal: no markup, and replacements of control characters.

    Args:
        parts: pieces of the text, some with a style.
    """
    made = Text()
    for part in parts:
        words, style = part if isinstance(part, tuple) else (part, "")
        made.append(words if isinstance(words, Text) else Text(printable(words), style))
    return made


def listing(columns: Sequence[str], rows: Sequence[Sequence[Cell]], most: int) -> None:
    """Prints the first rows of a table, and how many more there are; nothing if there is none."""
    if not rows:
        return
    made = table(*columns)
    for row in rows[:most]:
        made.add_row(*row)
    show(made)
    if len(rows) > most:
        answer(f"... and {len(rows) - most:,} more; --json lists all of them.")


def answer(line: str) -> None:
    """Prints one line on standard output, without markup or wrapping."""
    stdout().print(text(line), soft_wrap=True)


def confirm(question: str, otherwise: str, *, yes: bool) -> None:
    """Asks on the terminal before something is destroyed, unless --yes has answered.

    Raises:
        Failure: if the answer is no, with what was not done then; or if nobody can be asked.
    """
    if yes:
        return
    if not interactive():
        told = f"{question} There is no terminal to ask on, want --yes"
        raise Failure(told, Reason.NOT_CONFIRMED, code=2)
    if not typer.confirm(printable(question), err=True):
        raise Failure(otherwise, Reason.NOT_CONFIRMED)


def require_known(unknown_ids: Sequence[str], collection: str) -> None:
    """Fails if some ids were not found; names the first few.

    Raises:
        Failure: if there are any.
    """
    if unknown_ids:
        more = f" and {len(unknown_ids) - _NAMED:,} more" if len(unknown_ids) > _NAMED else ""
        listed = ", ".join(unknown_ids[:_NAMED])
        raise Failure(f"no such item in collection {collection!r}: {listed}{more}", Reason.NOT_FOUND)


def document(value: object) -> None:
    """Prints the one JSON document of a command with --json; times are texts as of RFC 3339."""
    indent = 2 if sys.stdout.isatty() else None
    try:
        print(json.dumps(value, indent=indent, allow_nan=False, default=rfc3339))  # noqa: T201
    except BrokenPipeError:
        raise Unread from None


def note(message: str) -> None:
    """Prints one line on standard error, unless -q forbids it."""
    step(text((f"blindsight: {message}", "dim")))


def detail(message: str) -> None:
    """Prints one line on standard error if -v asks for it."""
    if _loudness is Loudness.VERBOSE:
        note(message)


def step(line: Cell) -> None:
    """Prints a line of progress on standard error, unless -q forbids it."""
    if _loudness is not Loudness.QUIET:
        stderr().print(text(line), soft_wrap=True)


def warning(message: str) -> None:
    """Prints one line on standard error that should not be missed."""
    stderr().print(text("blindsight: ", ("warning:", "bold yellow"), f" {_line(message)}"), soft_wrap=True)


def error(message: str) -> None:
    """Prints the one line of an error on standard error."""
    stderr().print(text("blindsight: ", ("error:", "bold red"), f" {_line(message)}"), soft_wrap=True)


def _line(message: str) -> str:
    """Returns a message as one line that does not flood the terminal, whatever of the input it repeats."""
    words = (shortened(word, _MOST_OF_A_WORD) for word in message.split())
    return shortened(" ".join(words), _MOST_OF_A_LINE)


def error_document(reason: str, message: str, metadata: Mapping[str, str]) -> None:
    """Prints an error as one line of JSON on standard error, as the other stream has answers only."""
    told = {"reason": reason, "message": _line(message), "metadata": dict(metadata)}
    stderr().print(Text(json.dumps(told)), soft_wrap=True)


class Table(RichTable):
    """A table whose cells are text; see `text`."""

    def add_row(self, *cells: Cell) -> None:  # type: ignore[override]
        """Adds a row."""
        super().add_row(*map(text, cells))


def table(*names: str, right: Iterable[str] = ()) -> Table:
    """Returns an empty table; columns named in `right` are aligned right, for numbers."""
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return made


def facts(pairs: Sequence[tuple[str, str]]) -> Table:
    """Returns a table of names and values, one pair per line."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, value)
    return made


def show(what: Cell | Table) -> None:
    """Prints a table or a text on standard output."""
    if isinstance(what, Table):
        stdout().print(what)
    else:
        stdout().print(text(what), soft_wrap=True)


def count(number: int, what: str) -> str:
    """Returns a number with its noun, to which a plural adds an s."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def moment(time: datetime) -> str:
    """Returns a time as people here write it."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def score(value: float | None) -> str:
    """Returns a score with four decimals, a small one with four digits; None: one that is not told."""
    if value is None:
        return "not told"
    return f"{value:.4f}" if not value or abs(value) >= 1e-3 else f"{value:.4g}"


def size(count: int) -> str:
    """Returns a number of bytes as human-readable text."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """Returns a duration as human-readable text."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "<1 ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


class Meter(Protocol):
    """A display of progress."""

    def update(self, done: int, total: int | None = None, remark: str = "") -> None:
        """Shows the current state."""


def _without_display() -> bool:
    return _loudness is Loudness.QUIET or not stderr().is_terminal


@contextmanager
def meter(what: str, total: int | None = None) -> Iterator[Meter]:
    """Shows a progress bar on a terminal while the block runs; elsewhere a line from time to time."""
    if _without_display():
        lines = Lines(what, total)
        with lines.written():
            yield lines
        return
    with _bar() as progress:
        yield _Bar(progress, what, total)


@contextmanager
def spinner(what: str) -> Iterator[Callable[[str], None]]:
    """Shows a spinner while the block runs, for work of unknown length; without a terminal some lines.

    Yields:
        what says something else.
    """
    if _without_display():
        lines = Lines(what, None)
        with lines.written():
            yield lines.say
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=stderr(), transient=True) as progress:
        task = progress.add_task(printable(what))
        yield lambda what: progress.update(task, description=printable(what))


@contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Says that a pipe has nothing yet, if the block takes long."""
    with Lines(f"waiting for {path}, a pipe", None).written():
        yield


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[remark]}", style="yellow", markup=False),
        console=stderr(),
        transient=True,
        expand=True,
    )


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="cyan")


class _Bar:
    def __init__(self, progress: Progress, what: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(printable(what), total=total, remark="")

    def update(self, done: int, total: int | None = None, remark: str = "") -> None:
        if total is not None:
            self._progress.update(self._task, total=total)
        self._progress.update(self._task, completed=done, remark=printable(remark))


class Lines:
    """A meter without a terminal: it writes a line from time to time."""

    def __init__(self, what: str, total: int | None, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._what = what
        self._total = total
        self._quiet_seconds = quiet_seconds
        self._wait_seconds = min(FIRST_SECONDS, quiet_seconds)
        self._started = self._told = time.monotonic()
        self._done: int | None = None
        self._remark = ""

    def update(self, done: int, total: int | None = None, remark: str = "") -> None:
        """Writes a line if the last one is old enough, and the work is not done."""
        self._done, self._remark = done, remark
        self._total = total if total is not None else self._total
        self._write()

    def say(self, what: str) -> None:
        """Writes a line of its own if the last one is old enough."""
        self._what = what
        if self._due(time.monotonic()):
            note(what)

    @contextmanager
    def written(self) -> Iterator[None]:
        """Writes lines while the block runs, also if nobody says anything."""
        ended = threading.Event()

        def write() -> None:
            while not ended.wait(min(FIRST_SECONDS, self._quiet_seconds)):
                self._write()

        writing = threading.Thread(target=write, daemon=True)
        writing.start()
        try:
            yield
        finally:
            ended.set()
            writing.join()

    def _write(self) -> None:
        now = time.monotonic()
        finished = self._done is not None and self._done == self._total
        if not finished and self._due(now):
            note(self._line(self._done, max(now - self._started, 1e-9)))

    def _line(self, done: int | None, seconds: float) -> str:
        if done is None:
            return f"{self._what}: {duration(seconds)} so far"
        rate = done / seconds
        parts = [f"{self._what}: {done:,}"]
        if self._total:
            parts[0] += f" of {self._total:,} ({100 * done // self._total} %)"
        parts.append(f"{rate:,.0f}/s")
        if self._total and rate > 0:
            parts.append(f"{duration((self._total - done) / rate)} left")
        return ", ".join([*parts, self._remark] if self._remark else parts)

    def _due(self, now: float) -> bool:
        due = now - self._told >= self._wait_seconds
        if due:
            self._told, self._wait_seconds = now, self._quiet_seconds
        return due
