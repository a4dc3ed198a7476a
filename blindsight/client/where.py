"""The language of filters: `year >= 2020 and (place = "Rome" or not has(place))`.

    filter     = filter or filter | filter and filter | not filter | ( filter )
               | KEY = VALUE | KEY != VALUE | KEY < VALUE | KEY <= VALUE | KEY > VALUE | KEY >= VALUE
               | KEY match TEXT | KEY in ( VALUE, ... ) | KEY between VALUE and VALUE
               | has ( KEY ) | within ( SOUTH, WEST, NORTH, EAST )

`not` binds closest, then `and`, then `or`.  A value is a number, true or false, a text in single or double
quotes, or a time: a date, or a date and a time, in UTC without an offset; with or without quotes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from blindsight.client import arguments
from blindsight.errors import InvalidArgument
from blindsight.wire.metadata import (
    All,
    AnyOf,
    Comparison,
    Filter,
    GeoBox,
    Has,
    Not,
    Operator,
    checked_key,
    comparison,
    geo_box,
    time_of,
)

_OPERATORS = {
    "=": Operator.EQUAL,
    "==": Operator.EQUAL,
    "<": Operator.LESS,
    "<=": Operator.LESS_OR_EQUAL,
    ">": Operator.GREATER,
    ">=": Operator.GREATER_OR_EQUAL,
    "match": Operator.MATCH,
}
_WORDS = frozenset({"and", "or", "not", "in", "has", "within", "match", "between", "true", "false"})
_MOST_DEPTH = 25
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<time>\d{4}-\d\d-\d\d(?:[Tt]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:\d\d)?)?)
      | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<word>[^\W\d][\w.:-]*)
      | (?P<sign><=|>=|!=|==|[=<>(),])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int


def parse(text: str) -> Filter:
    """Returns the filter that a text describes.

    Raises:
        InvalidArgument: if it is none; says where, what was got and what was wanted.
    """
    parser = _Parser(arguments.text("where", text))
    found = parser.either(_MOST_DEPTH)
    parser.require_end()
    return found


class _Parser:
    """A recursive descent through the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def either(self, depth: int) -> Filter:
        return self._chain("or", AnyOf, self._both, depth)

    def _both(self, depth: int) -> Filter:
        return self._chain("and", All, self._one, depth)

    def _chain(
        self,
        word: str,
        join: Callable[[tuple[Filter, ...]], Filter],
        part: Callable[[int], Filter],
        depth: int,
    ) -> Filter:
        parts = [part(depth)]
        while self._take(word):
            parts.append(part(depth))
        return join(tuple(parts)) if len(parts) > 1 else parts[0]

    def _one(self, depth: int) -> Filter:
        if depth == 0:
            raise InvalidArgument(f"where: more than {_MOST_DEPTH} levels, want fewer")
        if self._take("not"):
            return Not(self._one(depth - 1))
        if self._take("("):
            found = self.either(depth - 1)
            self._require(")")
            return found
        if self._take("has"):
            self._require("(")
            key = self._key()
            self._require(")")
            return Has(key)
        if self._take("within"):
            return self._within()
        return self._predicate(self._key())

    def _predicate(self, key: str) -> Filter:
        if self._take("!="):
            return Not(comparison(key, Operator.EQUAL, self._value()))
        if self._take("in"):
            return AnyOf(tuple(self._equal(key, value) for value in self._list()))
        if self._take("between"):
            least = comparison(key, Operator.GREATER_OR_EQUAL, self._value())
            self._require("and")
            return All((least, comparison(key, Operator.LESS_OR_EQUAL, self._value())))
        for sign, operator in _OPERATORS.items():
            if self._take(sign):
                return comparison(key, operator, self._value(times=operator is not Operator.MATCH))
        raise self._wrong("a comparison: = != < <= > >= match, in or between")

    @staticmethod
    def _equal(key: str, value: object) -> Comparison:
        return comparison(key, Operator.EQUAL, value)

    def _within(self) -> Filter:
        values = self._list()
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        if len(numbers) != len(values) or len(numbers) != 4:
            raise InvalidArgument(f"where: within of {len(values)} values, want south, west, north, east")
        south, west, north, east = numbers
        return geo_box(GeoBox(south, west, north, east))

    def _list(self) -> list[object]:
        self._require("(")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._require(")")
        return values

    def _key(self) -> str:
        token = self._peek()
        if token.kind != "word" or token.text.lower() in _WORDS:
            raise self._wrong("a key")
        self._at += 1
        return checked_key(token.text)

    def _value(self, *, times: bool = True) -> object:
        token = self._peek()
        if token.kind == "number":
            value: object = float(token.text)
            if value in (math.inf, -math.inf):
                raise self._wrong("a number from -1.7e308 to 1.7e308")
        elif token.kind == "text":
            written = re.sub(r"\\(.)", r"\1", token.text[1:-1])
            value = time_of(written) if times else written
        elif token.kind == "time":
            value = self._time(token)
        elif token.text.lower() in ("true", "false"):
            value = token.text.lower() == "true"
        else:
            raise self._wrong("a value: a number, true, false, a time, or a text in quotes")
        self._at += 1
        return value

    def _time(self, token: _Token) -> datetime:
        try:
            found = datetime.fromisoformat(token.text.upper())
        except ValueError:
            raise self._wrong("a date that exists") from None
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, wanted: str) -> bool:
        token = self._peek()
        if token.kind not in ("word", "sign") or token.text.lower() != wanted:
            return False
        self._at += 1
        return True

    def _require(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self._wrong(repr(wanted))

    def require_end(self) -> None:
        if self._peek().kind != "end":
            raise self._wrong("and, or, or the end")

    def _wrong(self, wanted: str) -> InvalidArgument:
        token = self._peek()
        got = repr(token.text) if token.text else "the end"
        return InvalidArgument(f"where, column {token.column}: got {got:.60}, want {wanted}")


def _tokens(text: str) -> list[_Token]:
    found, at, end = list[_Token](), 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            raise InvalidArgument(
                f"where, column {start + 1}: got {text[start : start + 20]!r}, want a key, a comparison "
                "or a value"
            )
        kind = match.lastgroup
        found.append(_Token(kind, match[kind], match.start(kind) + 1))
        at = match.end()
    return [*found, _Token("end", "", end + 1)]
