"""What docs/command.md says of the command is what it does."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from blindsight import errors
from blindsight.cli import app, examples, output

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "command.md").read_text()


def section(title):
    return DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def reasons(kind):
    yield kind.reason
    for below in kind.__subclasses__():
        yield from reasons(below)


def test_every_reason_of_an_error_is_told():
    told = [
        name
        for row in re.findall(r"^\| (`.*?) \|", section("Errors"), re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert len(told) == len(set(told))
    assert set(told) == {*map(str, output.Reason), *reasons(errors.BlindsightError)}


def commands(command, words=()):
    """Every command that does something, as it is typed."""
    below = getattr(command, "commands", {})
    if not below:
        yield " ".join(words), command
    for name, one in below.items():
        yield from commands(one, (*words, name))


COMMANDS = dict(commands(typer.main.get_command(app.app)))
LINES = [(command, line) for command, lines in examples.EXAMPLES.items() for line in lines]


def test_every_command_and_no_other_has_examples():
    assert examples.EXAMPLES.keys() == {"", *COMMANDS}
    assert all(examples.EXAMPLES.values())


@pytest.mark.parametrize(("command", "line"), LINES)
def test_an_example_is_of_its_command_and_can_be_typed(command, line):
    name, *words = shlex.split(re.sub(r" > .*", "", line))
    assert name == "blindsight"
    command = command or next(one for one in COMMANDS if " ".join(words).startswith(f"{one} "))
    count = len(command.split())
    assert words[:count] == command.split()
    COMMANDS[command].make_context(command, words[count:])  # raises for what the command does not know
    assert len(line) < 76  # one line of a terminal


@pytest.mark.parametrize("command", ["", *COMMANDS, "collection", "items", "jobs", "keys", "certificates"])
def test_the_help_of_every_command_ends_with_examples(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    assert app.run([*command.split(), "--help"]) == 0
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    wanted = examples.shown(command).replace("\\[", "[").splitlines()
    assert len(wanted) > 1
    assert printed[printed.index(wanted[0]) :][: len(wanted)] == [line.strip() for line in wanted]


def options():
    for name, command in COMMANDS.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                yield name, parameter


def test_one_thing_has_one_name():
    """An option is spelled, and takes a value of one kind, alike wherever it is."""
    kinds, spellings = {}, {}
    for command, option in options():
        shown = "" if option.is_flag else option.metavar or option.display_type(None)
        for spelling in option.opts:
            kinds.setdefault(spelling, {}).setdefault(shown, []).append(command)
            spellings.setdefault(spelling, set()).add(tuple(option.opts))
    several = {name: told for name, told in kinds.items() if len(told) > 1}
    # What the same word is of differs, and its value with it.
    assert several.keys() <= {"--metric", "--threshold", "--descriptors", "--pixels"}, several
    assert all(len(ways) == 1 for ways in spellings.values()), spellings
    plurals = {name for name in kinds if f"{name}s" in kinds}
    # One id of one photo, and the ids of rows; what is compared with, and what a token is for.
    assert plurals <= {"--id", "--collection"}, plurals


def test_every_answer_in_json_and_no_other_has_a_schema(capsys):
    assert app.run(["schema"]) == 0
    whole = json.loads(capsys.readouterr().out)
    printing = {
        name for name, command in COMMANDS.items() if any("--json" in one.opts for one in command.params)
    }
    assert whole["answers"].keys() == printing
    for command in printing:
        assert app.run(["schema", *command.split()]) == 0
        one = json.loads(capsys.readouterr().out)
        assert one["version"] == whole["version"]
        named = set(re.findall(r"#/\$defs/(\w+)", json.dumps(one)))
        assert named == one["$defs"].keys()


def test_the_schema_of_nothing_names_what_there_is(capsys):
    assert app.run(["schema", "collection"]) == 2
    assert "no --json of 'collection', want one of up, down, status" in capsys.readouterr().err


def test_the_published_schema_is_of_the_records_as_they_are():
    spec = importlib.util.spec_from_file_location("json_schema", ROOT / "tools" / "json_schema.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    for path, content in made.written().items():
        assert path.read_text() == content, f"run tools/json_schema.py, which writes {path.name}"
