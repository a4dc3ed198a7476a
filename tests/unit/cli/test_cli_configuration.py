"""The user's own defaults: the file, what it may set, and what goes over it."""

import pytest

from blindsight.cli import app

AWAY = "no keyholder answers at "


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where the file is looked for."""
    monkeypatch.delenv("BLINDSIGHT_CONFIG", raising=False)
    monkeypatch.delenv("BLINDSIGHT_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "blindsight").mkdir()
    return tmp_path / "blindsight" / "config.toml"


def said(capsys, *arguments, code=1):
    assert app.run(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_the_command_line_goes_over_the_environment_and_this_over_the_file(file, monkeypatch, capsys):
    file.write_text('address = "127.0.0.1:1"\n[collection.list]\naddress = "127.0.0.1:2"\n')
    assert f"{AWAY}127.0.0.1:1;" in said(capsys, "status")
    assert f"{AWAY}127.0.0.1:2;" in said(capsys, "collection", "list")
    assert f"{AWAY}127.0.0.1:1;" in said(capsys, "collection", "describe", "x")
    monkeypatch.setenv("BLINDSIGHT_ADDRESS", "127.0.0.1:3")
    assert f"{AWAY}127.0.0.1:3;" in said(capsys, "status")
    assert f"{AWAY}127.0.0.1:4;" in said(capsys, "status", "--address", "127.0.0.1:4")


def test_options_of_one_command_stand_in_its_table(file, capsys):
    file.write_text('address = "127.0.0.1:1"\n[search]\nk = 0\n')
    told = said(capsys, "search", "x", "y.jpg", code=2)
    assert told == f"blindsight: error: {file}: k: got 0, want greater than or equal to 1\n"
    assert AWAY in said(capsys, "search", "x", "y.jpg", "-k", "1")
    assert AWAY in said(capsys, "status")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('adress = "x"', "no setting 'adress', want address; options of one command go into its table"),
        (
            "k = 1",
            "no setting 'k', want one of address, data, passphrase-file, profile, quiet, token-file,",
        ),
        ("[serch]\nk = 1", "[serch] is no command, want search"),
        ("[items.lst]\nlimit = 1", "[items.lst] is no command, want list"),
        ("[search]\nthresold = 1", "no option 'thresold' of [search], want threshold"),
        ('[collection]\nscheme = "bfv"', "scheme in [collection], which is no command: want it in one of"),
        ("yes = true", "yes is said each time, and cannot be set"),
        ("[delete]\nyes = true", "yes in [delete] is said each time, and cannot be set"),
        ("[search]\nquery-visible-to-server = true", "is said each time, and cannot be set"),
        ("k = ", "is no TOML: Invalid value (at "),
        ('[ingest]\nset = "a=1"', "set in [ingest]: got 'a=1', want a list, as [\"...\"]"),
        ("[get]\noutput = ['x']", "output in [get]: got ['x'], want one text or number"),
        ("[search]\nwhere = {a = 1}", "where in [search]: got {'a': 1}, want one text or number"),
        ("[search]\nthreshold = true", "threshold in [search]: got True, want one text or number"),
        ("[ingest]\nupsert = 1", "upsert in [ingest]: got 1, want true or false"),
        ('quiet = "banana"', "quiet: got 'banana', want true or false"),
    ],
)
def test_what_a_file_may_not_set_is_one_clear_line(file, capsys, text, wrong):
    file.write_text(text)
    told = said(capsys, "status", code=2)
    assert told.startswith(f"blindsight: error: {file}")
    assert wrong in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("variable", ["BLINDSIGHT_QUIET", "BLINDSIGHT_VERBOSE", "BLINDSIGHT_DEBUG"])
def test_a_variable_that_is_neither_true_nor_false_is_named(file, monkeypatch, capsys, variable):
    file.write_text('address = "127.0.0.1:1"')
    for value, code in (("banana", 2), ("2", 2), ("0", 1), ("off", 1), ("", 1)):
        monkeypatch.setenv(variable, value)
        told = said(capsys, "status", code=code)
        wrong = f"blindsight: error: variable {variable}: got {value!r}, want true or false\n"
        assert (told == wrong) is (code == 2)
        assert "Traceback" not in told


def test_an_address_of_the_environment_is_told_by_its_variable(monkeypatch, capsys):
    monkeypatch.setenv("BLINDSIGHT_ADDRESS", "banana")
    assert (
        said(capsys, "status", code=2) == "blindsight: error: BLINDSIGHT_ADDRESS 'banana', want HOST:PORT\n"
    )


def test_a_wrong_file_keeps_nobody_from_the_help(file, capsys):
    file.write_text("k = ")
    assert app.run(["search", "--help"]) == 0
    assert "Usage:" in capsys.readouterr().out


def test_the_file_may_be_another_or_none(file, monkeypatch, capsys, tmp_path):
    file.write_text("k = ")
    monkeypatch.setenv("BLINDSIGHT_CONFIG", str(tmp_path / "gone.toml"))
    assert f"BLINDSIGHT_CONFIG: no such file: {tmp_path / 'gone.toml'}" in said(capsys, "status", code=2)
    monkeypatch.setenv("BLINDSIGHT_CONFIG", "")
    monkeypatch.setenv("BLINDSIGHT_ADDRESS", "127.0.0.1:1")
    assert f"{AWAY}127.0.0.1:1;" in said(capsys, "status")
    (tmp_path / "own.toml").write_text('address = "127.0.0.1:2"')
    monkeypatch.setenv("BLINDSIGHT_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.delenv("BLINDSIGHT_ADDRESS")
    assert f"{AWAY}127.0.0.1:2;" in said(capsys, "status", "-q")
    assert said(capsys, "-v", "status").splitlines()[:2] == [
        f"blindsight: defaults of {tmp_path / 'own.toml'}",
        "blindsight: keyholder 127.0.0.1:2",
    ]
