import json
import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest
import typer

from blindsight import errors
from blindsight.cli import app, output
from blindsight.runtime import paths
from services.keyholder import settings as keyholder_settings


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (150 << 10, "150 KiB"),
        (5 << 30, "5.0 GiB"),
        (1 << 60, "1048576 TiB"),
    ],
)
def test_a_size_is_written_for_people(count, text):
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "<1 ms"), (0.0421, "42 ms"), (1.26, "1.3 s"), (119.0, "119.0 s"), (185, "3 min 5 s")],
)
def test_a_duration_is_written_for_people(seconds, text):
    assert output.duration(seconds) == text


def test_an_error_is_exactly_one_line_whatever_it_says(capsys):
    output.error("first\nsecond \x1b[31mred [bold]markup[/bold] " + "long " * 100)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(
        "blindsight: error: first second \N{REPLACEMENT CHARACTER}[31mred [bold]markup"
    )


HOSTILE = "1.0 \x1b]0;title\x07\x1b[2J [bold]x[/bold] [/y] \x9b31m\u202e\r"


def test_nothing_that_others_wrote_does_anything_to_a_terminal(capsys):
    listed = output.table("name", "value")
    listed.add_row(HOSTILE, output.text((HOSTILE, "bold")))
    for what in (listed, HOSTILE, output.text(HOSTILE, (HOSTILE, "red")), output.facts([("name", HOSTILE)])):
        output.show(what)
    output.answer(HOSTILE)
    output.note(HOSTILE)
    output.error(HOSTILE)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert "[bold]x[/bold] [/y]" in text
        assert all(letter.isprintable() or letter == "\n" for letter in text)


DISPLAYS = """
import sys
from blindsight.cli import output
hostile = sys.argv[1]
with output.spinner(hostile):
    pass
with output.meter(hostile, 10) as meter:
    meter.update(5, remark=hostile)
"""


def test_progress_of_hostile_names_is_shown_as_text():
    main, other = pty.openpty()
    try:
        ran = subprocess.run(
            [sys.executable, "-c", DISPLAYS, HOSTILE],
            stderr=other, env={**os.environ, "TERM": "xterm", "COLUMNS": "300"}, timeout=60, check=False,
        )  # fmt: skip
        shown = os.read(main, 1 << 16)
    finally:
        os.close(main)
        os.close(other)
    assert ran.returncode == 0
    assert b"[bold]x[/bold] [/y]" in shown
    assert b"title\x07" not in shown
    assert b"\x1b[2J" not in shown


def test_a_document_is_strict_json(capsys):
    output.document({"name": "caf\udce9", "text": "ü"})
    assert json.loads(capsys.readouterr().out) == {"name": "caf\udce9", "text": "ü"}
    with pytest.raises(ValueError, match="JSON compliant"):
        output.document({"score": float("nan")})


def test_without_a_terminal_a_short_run_says_nothing(capsys):
    with output.meter("ingesting", 10) as meter:
        meter.update(5)
    with output.spinner("searching"):
        pass
    assert capsys.readouterr().err == ""


def test_without_a_terminal_a_long_run_says_where_it_is(capsys):
    meter = output.Lines("ingesting", None, quiet_seconds=0)
    meter.update(250, 1000, "3 rejected")
    line = capsys.readouterr().err
    assert line.startswith("blindsight: ingesting: 250 of 1,000 (25 %), ")
    assert line.endswith(" left, 3 rejected\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArgument("said"), 2),
        (errors.InvalidVector("said"), 2),
        (errors.InvalidImage("said"), 2),
        (errors.NotFound("said"), 1),
        (errors.Unavailable("said"), 1),
        (errors.WrongPassphrase("said"), 1),
        (output.Failure("said", "FILE_ERROR"), 1),
        (output.Failure("said", "DAMAGED", 3), 3),
    ],
)
def test_an_error_becomes_its_message_and_an_exit_code(error, code):
    told = app.explained(error)
    assert (told.reason, told.message, told.code) == (error.reason, "said", code)


def test_an_error_of_the_system_names_its_file(tmp_path):
    with pytest.raises(OSError, match="No such file") as caught:
        (tmp_path / "gone").read_bytes()
    told = app.explained(caught.value)
    assert (told.reason, told.message, told.code) == (
        "FILE_ERROR",
        f"{tmp_path / 'gone'}: No such file or directory",
        1,
    )


def test_an_error_that_nobody_expected_is_named_without_a_traceback():
    told = app.explained(ZeroDivisionError("division by zero"))
    assert told.message == (
        "unexpected ZeroDivisionError: division by zero (set BLINDSIGHT_DEBUG=1 to see where)"
    )
    assert (told.reason, told.code) == ("UNEXPECTED", 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["collection"], "Missing command"),
        (["keys"], "Missing command"),
        (["search"], "Missing argument 'NAME'"),
        (["search", "photos", "x.jpg", "-k", "0"], "Invalid value for '-k'"),
        (["search", "photos", "x.jpg", "-k", "many"], "'-k': got 'many', want a whole number; see `blind"),
        (["search", "photos", "x.jpg", "-k", "\udcff"], "'-k': got '\\udcff', want UTF-8 text"),
        (["ingest", "photos", "x.jpg", "--set", "a=\udcff"], "--set is no UTF-8 text from character 2"),
        (["up", "--data", "x", "--host", "\udcff"], "host '\\udcff', want the name of a machine"),
        (["search", "photos", "x.jpg", "--nope"], "No such option: --nope"),
        (["delete", "photos"], "nothing to delete, want ID..."),
        (["collection", "create", "x", "--metric", "manhattan"], "got 'manhattan', want one of 'cosine'"),
        (["collection", "create", "x", "--dimension", "0"], "Invalid value for '--dimension'"),
        (["up"], "Missing option '--data'"),
        (["up", "--data", "x", "--port", "65536"], "Invalid value for '--port'"),
        (["status", "--address", "nonsense"], "address 'nonsense', want HOST:PORT"),
        (["status", "--address", "x" * 3000], "x ... x"),
        (["ingest", "photos", "x.jpg", "--set", "a b " * 3000], " ... "),
        (["frobnicate" * 300], "No such command 'frob"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(capsys, arguments, said):
    assert app.run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.startswith("blindsight: error: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "reason", "said"),
    [
        (["bogus", "--json"], "INVALID_ARGUMENT", "No such command 'bogus'"),
        (["search", "--json"], "INVALID_ARGUMENT", "Missing argument 'NAME'"),
        (["get", "x", "id", "-o", "-", "--json"], "INVALID_ARGUMENT", "standard output cannot take both"),
        (["delete", "x", "--json"], "INVALID_ARGUMENT", "nothing to delete"),
    ],
)
def test_an_error_of_an_answer_in_json_is_one_object_on_standard_error(capsys, arguments, reason, said):
    assert app.run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    told = json.loads(line)
    assert told.keys() == {"reason", "message", "metadata"}
    assert told["reason"] == reason
    assert said in told["message"]


@pytest.mark.parametrize(
    "command",
    [
        "",
        "up",
        "keys create",
        "collection create",
        "collection list",
        "collection describe",
        "collection delete",
        "ingest",
        "search",
        "get",
        "delete",
        "repack",
        "status",
        "compare-schemes",
    ],
)
def test_every_command_has_help(capsys, command):
    assert app.run([*command.split(), "--help"]) == 0
    printed = capsys.readouterr()
    assert "Usage:" in printed.out
    if command and command not in ("up", "keys create", "compare-schemes"):
        assert "--address" in printed.out
        assert "BLINDSIGHT_ADDRESS" in printed.out
    if command:
        assert "--json" in printed.out


def commands(command, path=()):
    """All commands, and the groups that they are in, as they are typed."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


@pytest.mark.parametrize("command", [*commands(typer.main.get_command(app.app))], ids=" ".join)
def test_the_help_shows_no_types_of_python(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    assert app.run([*command, "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--help" in printed
    assert not re.search(r"<\w+( range)?>", printed)


def test_the_command_and_the_keyholder_agree_on_the_name_of_the_key_file():
    from blindsight.cli.local import keys

    assert keys.KEY_FILE_NAME == keyholder_settings.KEY_FILE_NAME


# On a terminal that controls it: in front, and then as a shell's `command &`.
_IN_FRONT_AND_BEHIND = """
import fcntl, subprocess, sys, termios
from blindsight.cli import output
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
print(output.interactive(), flush=True)
behind = "from blindsight.cli import output; print(output.interactive())"
subprocess.run([sys.executable, "-c", behind], process_group=0, check=True)
"""


def test_a_command_in_the_background_has_nobody_to_ask():
    own, terminal = pty.openpty()
    try:
        told = subprocess.run(
            [sys.executable, "-c", _IN_FRONT_AND_BEHIND],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
            start_new_session=True,
            check=True,
        ).stdout
    finally:
        os.close(own)
        os.close(terminal)
    assert told.split() == ["True", "False"]


@pytest.mark.parametrize(("number", "text"), [(0, "0 items"), (1, "1 item"), (1600, "1,600 items")])
def test_a_count_is_written_for_people(number, text):
    assert output.count(number, "item") == text


def test_a_group_of_commands_alone_tells_of_them_and_of_nothing_else(capsys):
    assert app.run(["jobs"]) == 2
    printed = capsys.readouterr()
    assert "Usage: blindsight" in printed.out + printed.err
    assert "error" not in printed.err


def test_help_fills_every_paragraph(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert app.run(["ingest", "--help"]) == 0
    assert "Encrypted pixels are those of the photo" in capsys.readouterr().out


def test_who_waits_without_a_terminal_is_told_from_time_to_time(capsys):
    lines = output.Lines("counting in album", None, quiet_seconds=0.05)
    with lines.written():
        time.sleep(0.2)
        lines.say("loading")
        time.sleep(0.2)
    told = capsys.readouterr().err.splitlines()
    time.sleep(0.2)
    assert capsys.readouterr().err == ""
    assert re.fullmatch(r"blindsight: counting in album: \d+ ms so far", told[0])
    assert told[-1].startswith("blindsight: loading")


def test_the_first_line_comes_soon_and_the_next_ones_seldom(capsys):
    with output.meter("ingesting"), output.spinner("searching"):
        time.sleep(2.5)
    told = [line.partition(":")[2] for line in capsys.readouterr().err.splitlines()]
    assert sorted(told) == [" ingesting: 1.0 s so far", " searching: 1.0 s so far"]


def test_who_waits_for_a_pipe_is_told_so(tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write():
        with pipe.open("wb") as file:  # somebody who writes, though nothing yet
            time.sleep(1.3)
            file.write(b"no photo")

    writing = threading.Thread(target=write)
    writing.start()
    paths.tell_of_waiting(output.waiting)
    with paths.opened(pipe) as file:
        assert file.read() == b"no photo"
    writing.join()
    assert f"blindsight: waiting for {pipe}, a pipe: 1.0 s so far" in capsys.readouterr().err.splitlines()


def test_what_is_over_soon_says_nothing(capsys):
    with output.spinner("counting in album"):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""
