"""Every task has a function that takes it and returns what the task says, and nothing of it is shown."""

import dataclasses
import pickle
from typing import get_type_hints

import numpy as np
import pytest

from blindsight.additive.schemes import AdditiveScheme
from blindsight.runtime.processpool import Task
from blindsight.runtime.processpool.task import function_of
from blindsight.trusted.crypto import tasks as crypto
from blindsight.trusted.crypto.tasks import Start
from services.evaluator import tasks as evaluator

TABLES = {"evaluator": evaluator.COMPUTE, "crypto": crypto.COMPUTE, "decoding": crypto.DECODING}
MODULES = {evaluator: evaluator.COMPUTE, crypto: crypto.COMPUTE | crypto.DECODING}
ROWS = [
    pytest.param(task, function, id=f"{name} {task.__name__}")
    for name, table in TABLES.items()
    for task, function in table.items()
]


@pytest.mark.parametrize(("task", "function"), ROWS)
def test_the_function_of_a_row_takes_the_task_and_returns_its_result(task, function):
    hints = get_type_hints(function_of(function))
    (result,) = task.__orig_bases__[0].__args__
    assert hints.pop("return") == result
    assert list(hints.values()) == [task]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_task_has_a_row(module):
    defined = {
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Task) and thing.__module__ == module.__name__
    }
    assert defined == set(MODULES[module])


@pytest.mark.parametrize(("task", "function"), ROWS)
def test_a_task_is_a_frozen_dataclass(task, function):
    assert dataclasses.is_dataclass(task)
    assert task.__dataclass_params__.frozen


@pytest.mark.parametrize("task", MODULES[crypto], ids=lambda task: task.__name__)
def test_a_task_of_the_trusted_zone_shows_nothing_of_what_it_holds(task):
    assert task.__repr__ is Task.__repr__


def test_a_task_comes_through_a_pipe_as_it_was():
    start = Start(b"an id", {"a set": b"a secret"})
    again = pickle.loads(pickle.dumps(start))
    assert again == start
    assert repr(start) == "Start(...)"
    rows = crypto.EncryptValues(b"secret", None, np.arange(3))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rows)).values, [0, 1, 2])
    key = crypto.GenerateKey(AdditiveScheme.PAILLIER, 2048, insecure_small_keys=False)
    assert pickle.loads(pickle.dumps(key)) == key
