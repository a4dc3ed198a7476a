"""Arguments of commands: what is empty is an error that names the option, before anything is connected to."""

import sys

import pytest

from blindsight.cli import app, output


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("get trips one -o |", "--output is empty, want a path"),
        ("get trips one --output=", "--output is empty, want a path"),
        ("ingest trips a.jpg --metadata |", "--metadata is empty, want a path"),
        ("ingest trips a.jpg --ids |", "--ids is empty, want a path"),
        ("search trips --vectors |", "--vectors is empty, want a path"),
        ("search trips a.jpg --save |", "--save is empty, want a path"),
        ("verify a.jpg |", " is empty, want a path"),
        ("up --data |", "--data is empty, want a path"),
        ("ingest trips a.jpg --id |", "--id is empty, want an id"),
    ],
)
def test_an_empty_one_is_an_error_that_names_it(capsys, words, named):
    arguments = ["" if word == "|" else word for word in words.split()]
    assert app.run(arguments) == app.USAGE
    assert named in capsys.readouterr().err


def test_a_key_that_is_set_and_removed_is_an_error(capsys):
    changes = ["--set", "a=1", "--set", "b=2", "--remove", "a"]
    assert app.run(["items", "set", "trips", "one", *changes]) == app.USAGE
    assert "--set and --remove of a, want one of them" in capsys.readouterr().err


def test_what_nobody_can_be_asked_is_not_confirmed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(output.Failure, match="There is no terminal to ask on, want --yes") as caught:
        output.confirm("Delete 1 item?", "not deleted", yes=False)
    assert (caught.value.reason, caught.value.code) == ("NOT_CONFIRMED", app.USAGE)
