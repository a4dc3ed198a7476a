"""The strangest numbers in every field of every message with a record: it is read, or refused as wrong."""

import importlib
import pkgutil
from contextlib import suppress

import pytest
from support.extremes import changed, filled

import blindsight.wire
from blindsight.errors import BlindsightError
from blindsight.wire.records import Record, message_type


def records():
    """All records of the package, by name."""
    for module in pkgutil.iter_modules(blindsight.wire.__path__):
        importlib.import_module(f"blindsight.wire.{module.name}")
    found, rest = {}, [Record]
    while rest:
        for record in rest.pop().__subclasses__():
            found[f"{record.__module__.rpartition('.')[2]}.{record.__name__}"] = record
            rest.append(record)
    return {
        name: record for name, record in found.items() if record.__module__.startswith("blindsight.wire.")
    }


RECORDS = records()


@pytest.mark.parametrize("name", RECORDS)
def test_a_message_with_strange_numbers_is_read_or_refused(name):
    good = filled(message_type(RECORDS[name]).DESCRIPTOR)
    for what, message in changed(good):
        try:
            with suppress(BlindsightError):
                RECORDS[name].from_message(message)
        except Exception as error:
            pytest.fail(f"{what}: {error!r}")
