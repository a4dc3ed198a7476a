"""Verification of an audit log: what was altered, dropped, moved, cut off, or comes from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blindsight.trusted.audit.files import HALF_DAMAGED, HEAD_NAME, Head
from blindsight.trusted.audit.records import NO_CHAIN, Point, Record, parsed
from blindsight.trusted.secrets import Secret

# After so many faults a log is not worth a longer list.
MOST_FAULTS = 100
_REPORT_RECORDS = 5000
_UNKNOWN = b""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong with a log.

    Attributes:
        number: of the record that it is about, or of the first of several.
        kind: "altered", "inserted", "missing", "reordered", "cut off", "forked", "set back", "head" or
            "damaged".
        what: a sentence.
    """

    number: int
    kind: str
    what: str


class Verification:
    """The verification of a log.

    Args:
        paths: files of records, the oldest first.
        head: how far they must go; None: that is not known.
        key: of the chain.
        expected: what was the end of the log once; None: that is not known.
        half_damaged: of the head; see `HeadFile`.

    Attributes:
        head: how far the log goes.
        records: how many lines were looked at.
        faults: what is wrong, when all were.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        head: Head | None,
        key: Secret,
        expected: Point | None = None,
        *,
        half_damaged: bool = False,
    ) -> None:
        self._paths = paths
        self._head = head
        self._key = key
        self._expected = expected
        self._half_damaged = half_damaged
        first = head.first if head is not None else 1
        self._last = Point(first - 1, NO_CHAIN if first == 1 else _UNKNOWN)
        # Lines since the last record that the keyholder did not write, and numbers that did not come yet.
        self._strange: list[str] = []
        self._gaps: list[range] = []
        self.head = head or Head()
        self.records = 0
        self.faults: list[Fault] = []

    def run(self) -> Iterator[int]:
        """Yields how many records were looked at, again and again; blocking."""
        first = self._last.number + 1
        for path in self._paths:
            for at, text in enumerate(path.read_bytes().splitlines(), 1):
                record = parsed(text, self._key)
                if record is None:
                    self._strange.append(f"line {at} of {path.name}")
                    continue
                if record.point == self._expected:
                    self._expected = None
                if record.point.number >= first and not self._is_later(record):
                    self._check(record)
                self.records += 1
                if not self.records % _REPORT_RECORDS:
                    yield self.records
        self._check_end()
        if self._expected is not None and self._expected.number >= first:
            number = self._expected.number
            what = (
                f"record {number} is not the one that was expected: the log was set back, or is another one"
            )
            self._fault(number, "set back", what)
        self.faults.sort(key=lambda one: one.number)
        del self.faults[MOST_FAULTS:]
        yield self.records

    def _is_later(self, record: Record) -> bool:
        """Returns whether a record is not told of by the head: nothing was answered on the strength of it."""
        later = self._head is not None and record.point.number > self._head.point.number
        self._half_damaged &= not later  # the write that was cut off was to tell of this record
        return later

    def _check(self, record: Record) -> None:
        number = record.point.number
        if number <= self._last.number:
            self._late(number)
            return
        direct = number == self._last.number + 1 and not self._strange
        self._skip_to(number)
        if direct and self._last.chain not in (_UNKNOWN, record.after):
            self._fault(number, "forked", f"record {number} was written behind another one than stands here")
        if record.entry.event == "opened" and record.entry.outcome != "OK":
            what = "when the keyholder started, the end of the log or its head was not as it had been left"
            self._fault(number, "damaged", f"record {number}: {what}")
        self._last = record.point

    def _late(self, number: int) -> None:
        for gap in self._gaps:
            if number in gap:
                self._gaps.remove(gap)
                self._gaps += [range(gap.start, number), range(number + 1, gap.stop)]
                what = f"record {number} stands behind record {self._last.number}: moved"
                self._fault(number, "reordered", what)
                return
        self._fault(number, "inserted", f"record {number} stands there twice")

    def _skip_to(self, number: int) -> None:
        """Accounts for the numbers between the last record and another: altered lines, or none at all."""
        expected = self._last.number + 1
        for line in self._strange:
            if expected < number:
                what = f"record {expected} ({line}) was altered, or is another vault's"
                self._fault(expected, "altered", what)
                expected += 1
            else:
                what = f"{line}, behind record {expected - 1}, is no record of this log: inserted"
                self._fault(expected - 1, "inserted", what)
        self._strange.clear()
        if expected < number:
            self._gaps.append(range(expected, number))

    def _check_end(self) -> None:
        if self._head is None:
            self._skip_to(self._last.number + 1 + len(self._strange))
            if self.records:
                what = f"{HEAD_NAME} is missing: whether the end of the log was cut off cannot be told"
                self._fault(self._last.number, "head", what)
        else:
            end = self._head.point
            at_end = self._last.number == end.number and not self._strange
            if at_end and self._last.chain not in (_UNKNOWN, end.chain):
                what = f"record {end.number} is not the one that was written last"
                self._fault(end.number, "forked", what)
            self._skip_to(end.number + 1)
            if self._half_damaged:
                self._fault(end.number, "head", HALF_DAMAGED)
        for gap in filter(None, self._gaps):
            self._missing(gap)

    def _missing(self, gap: range) -> None:
        them = f"record {gap[0]} is" if len(gap) == 1 else f"records {gap[0]} to {gap[-1]} are"
        if self._head is not None and gap[-1] == self._head.point.number:
            self._fault(gap[0], "cut off", f"{them} missing at the end: the log was cut off")
        else:
            self._fault(gap[0], "missing", f"{them} missing: dropped")

    def _fault(self, number: int, kind: str, what: str) -> None:
        if len(self.faults) < 2 * MOST_FAULTS:  # they are sorted at the end, and the last ones left out
            self.faults.append(Fault(number, kind, what))
