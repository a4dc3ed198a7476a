"""Arguments of commands: what is empty is an error that names the option, before anything is connected to."""

import pytest

from blindsight.cli import app


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
