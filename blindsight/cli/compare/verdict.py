"""A summary of the results in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from blindsight.cli.compare import units
from blindsight.cli.compare.results import Family, Method, Results, Row

# Smaller ratios of two times, or of two errors, count as equal: times vary as much between two runs.
SAME_SPEED = 1.15
SAME_ERROR = 2.0


def verdict(results: Results) -> list[str]:
    """Returns a headline, then sentences on the choice of a scheme and on the naive method, if measured."""
    ours = results.of(Method.BLINDSIGHT)
    ckks, bfv = _fastest(ours, Family.CKKS), _fastest(ours, Family.BFV)
    sentences = _choice(ckks, bfv) if ckks and bfv else _single(ckks or bfv)
    return [*sentences, *_naive(results, ckks or bfv)]


def _fastest(rows: Sequence[Row], family: Family) -> Row | None:
    found = [row for row in rows if row.family is family]
    return min(found, key=lambda row: row.search_seconds, default=None)


def _choice(ckks: Row, bfv: Row) -> list[str]:
    fast, slow = sorted((ckks, bfv), key=lambda row: row.search_seconds)
    return [_headline(ckks, bfv), f"{_speed(fast, slow)} {_precision(ckks, bfv)}"]


def _headline(ckks: Row, bfv: Row) -> str:
    """Returns the headline, which compares right answers first, then time and error."""
    if ckks.right != bfv.right:
        return f"{max(ckks, bfv, key=lambda row: row.right).family.upper()}: it finds what plaintext finds."
    fast, slow = sorted((ckks, bfv), key=lambda row: row.search_seconds)
    close, loose = sorted((ckks, bfv), key=_error)
    quick = slow.search_seconds >= SAME_SPEED * fast.search_seconds
    precise = _error(loose) > SAME_ERROR * _error(close)
    if quick and precise and fast is not close:
        return f"{fast.family.upper()} for speed, {close.family.upper()} for precision."
    if quick:
        return f"{fast.family.upper()}: it is faster{' and closer to plaintext' if precise else ''}."
    if precise:
        return f"{close.family.upper()}: as fast, and closer to plaintext."
    return "Either: they are as fast and as precise as each other."


def _speed(fast: Row, slow: Row) -> str:
    times = slow.search_seconds / fast.search_seconds
    if times < SAME_SPEED:
        return (
            f"A search took {units.seconds(fast.search_seconds)} with {fast.name} and "
            f"{units.seconds(slow.search_seconds)} with {slow.name}, which is the same within what runs vary."
        )
    return (
        f"A search took {units.seconds(fast.search_seconds)} with {fast.name} and "
        f"{units.seconds(slow.search_seconds)} with {slow.name}, {units.times(times)} times as long."
    )


def _precision(ckks: Row, bfv: Row) -> str:
    errors = (
        f"their similarities are off by at most {units.error(ckks.max_error)} "
        f"and {units.error(bfv.max_error)}"
    )
    if ckks.right == bfv.right == len(ckks.answers):
        return f"Both found the right photo every time; {errors}."
    found = f"{ckks.name} found {_of(ckks)} right photos and {bfv.name} {_of(bfv)}"
    return f"{found}; {errors}."


def _single(row: Row | None) -> list[str]:
    if row is None:
        return ["No answer: neither CKKS nor BFV was measured."]
    return [
        f"Only {row.family.upper()} was measured.",
        f"A search took {units.seconds(row.search_seconds)} with {row.name}; {_alone(row)}.",
    ]


def _alone(row: Row) -> str:
    return f"it found {_of(row)} right photos, and is off by at most {units.error(row.max_error)}"


def _naive(results: Results, ours: Row | None) -> list[str]:
    rows = sorted(results.of(Method.NAIVE), key=lambda row: row.family is Family.BFV)
    if not rows:
        return []
    about = "about " if any(row.scaled for row in rows) else ""
    took = " and ".join(f"{units.seconds(row.search_seconds)} under {row.family.upper()}" for row in rows)
    text = f"Compared photo by photo, as naive programs do it, the same takes {about}{took}"
    if ours is not None:
        ratios = [row.search_seconds / ours.search_seconds for row in rows]
        ratio = " and ".join(units.times(one) for one in ratios)
        text += f", {ratio} times as long as {ours.name}"
    return [f"{text}. {_naive_answers(rows)}"]


def _naive_answers(rows: Sequence[Row]) -> str:
    """Returns sentences on the errors of the naive method, and on overflow if there was any."""
    overflown = [row for row in rows if row.max_error is None or row.max_error > 1]
    if overflown:
        worst = max(overflown, key=_error)
        off = (
            "are not numbers"
            if worst.max_error is None
            else f"are off by up to {units.error(worst.max_error)}"
        )
        found = " and ".join(f"{_of(row)} searches under {row.family.upper()}" for row in rows)
        return (
            f"Raw pixels overflow there: similarities, which lie between 0 and 1, {off}. "
            f"Of {rows[0].answers[0].candidates} photos it picked the right one in {found}."
        )
    worst = max(rows, key=_error)
    return f"Its similarities are off by at most {units.error(worst.max_error)}."


def _of(row: Row) -> str:
    return f"{row.right} of {len(row.answers)}"


def _error(row: Row) -> float:
    return float("inf") if row.max_error is None else row.max_error
