"""The language of filters."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.client.where import parse
from blindsight.errors import InvalidArgument
from blindsight.wire.metadata import All, AnyOf, Comparison, GeoBox, Has, Not, Operator

YEAR = Comparison("year", Operator.GREATER_OR_EQUAL, 2020)
ROME = Comparison("place", Operator.EQUAL, "Rome")
MAY = datetime(2026, 5, 1, tzinfo=UTC)


def equal(key, value):
    return Comparison(key, Operator.EQUAL, value)


MEANINGS = {
    'year >= 2020 and place = "Rome"': All((YEAR, ROME)),
    "year>=2020 AND place='Rome'": All((YEAR, ROME)),
    "a = 1 or b = 2 and c = 3": AnyOf((equal("a", 1), All((equal("b", 2), equal("c", 3))))),
    "(a = 1 or b = 2) and c = 3": All((AnyOf((equal("a", 1), equal("b", 2))), equal("c", 3))),
    "not a = 1 and b = 2": All((Not(equal("a", 1)), equal("b", 2))),
    "not not has(a)": Not(Not(Has("a"))),
    "a != 1": Not(equal("a", 1)),
    "a == -1.5e3": equal("a", -1500),
    "flag = true or flag = False": AnyOf((equal("flag", True), equal("flag", False))),
    'place match "om"': Comparison("place", Operator.MATCH, "om"),
    'place in ("Rome", "Paris")': AnyOf((ROME, equal("place", "Paris"))),
    "year between 2020 and 2022": All((YEAR, Comparison("year", Operator.LESS_OR_EQUAL, 2022))),
    "within(41, 12, 42, 13)": GeoBox(41, 12, 42, 13),
    "taken < 2026-05-01": Comparison("taken", Operator.LESS, MAY),
    "taken < 2026-05-01T02:00:00+02:00": Comparison("taken", Operator.LESS, MAY),
    'taken < "2026-05-01T00:00:00Z"': Comparison("taken", Operator.LESS, MAY),
    'taken < "2026-05-01"': Comparison("taken", Operator.LESS, MAY),
    "taken < 2026-05-01T00:00:00": Comparison("taken", Operator.LESS, MAY),
    'taken < "2026-05-01 00:00"': Comparison("taken", Operator.LESS, MAY),
    'name match "2026-05-01"': Comparison("name", Operator.MATCH, "2026-05-01"),
    r'a = "say \"hi\" \\"': equal("a", r'say "hi" \ '.strip()),
    "exif.f-number <= 2.8": Comparison("exif.f-number", Operator.LESS_OR_EQUAL, 2.8),
    "größe > 1": Comparison("größe", Operator.GREATER, 1),
    "android = 1": equal("android", 1),
}


@pytest.mark.parametrize(("text", "meaning"), MEANINGS.items(), ids=MEANINGS)
def test_a_text_is_the_filter_that_it_says(text, meaning):
    assert parse(text) == meaning


WRONG = {
    "": (1, "the end"),
    "year": (5, "the end"),
    "year >=": (8, "the end"),
    "year >= Rome": (9, "'Rome'"),
    "year = 1 place = 2": (10, "'place'"),
    "(year = 1": (10, "the end"),
    "year = 1)": (9, "')'"),
    "= 1": (1, "'='"),
    "and = 1": (1, "'and'"),
    "year ~ 1": (6, "'~ 1'"),
    'place = "Rome': (9, "'\"Rome'"),
    "taken = 2026-02-30": (9, "'2026-02-30'"),
    "year = 1e999": (8, "'1e999'"),
    "year in (1, -1e400)": (13, "'-1e400'"),
    "within(1, 2, 3, 1e999)": (17, "'1e999'"),
    "has year": (5, "'year'"),
    "a in (1": (8, "the end"),
}


@pytest.mark.parametrize(("text", "where"), WRONG.items(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_place(text, where):
    column, got = where
    with pytest.raises(InvalidArgument) as told:
        parse(text)
    assert told.value.message.startswith(f"where, column {column}: got {got}, want ")


@pytest.mark.parametrize(
    "text", ["within(1, 2, 3)", "within(1, 2, 3, 'a')", "within(9, 2, 3, 4)", "a < true"]
)
def test_what_cannot_be_compared_is_refused(text):
    with pytest.raises(InvalidArgument, match="want"):
        parse(text)


def test_half_a_character_is_no_text():
    with pytest.raises(InvalidArgument, match="where is no UTF-8 text from character 5 on"):
        parse("a = '\udcff'")


def test_what_is_too_deep_is_refused():
    parse("(" * 24 + "a = 1" + ")" * 24)
    for text in ("(" * 5000 + "a = 1", "not " * 5000 + "a = 1"):
        with pytest.raises(InvalidArgument, match="levels"):
            parse(text)


@given(st.text("aA1=<>!(),.\"'\\ -:andortinhs", max_size=40))
def test_any_text_is_a_filter_or_refused(text):
    with suppress(InvalidArgument):
        parse(text)
