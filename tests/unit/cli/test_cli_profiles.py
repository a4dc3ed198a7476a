"""Profiles in the user's configuration file: which is meant, and what of the file a change leaves alone."""

import tomllib
from pathlib import Path

import pytest

import blindsight
from blindsight.cli import app, profiles
from blindsight.errors import InvalidArgument, Unavailable
from blindsight.runtime.profiles import Profile, find

AWAY = "no keyholder answers at "
TWO = """# mine
quiet = true # nothing but answers

[profiles.home]
address = "127.0.0.1:11" # at home

# of the office
[profiles."office"]
address = "127.0.0.1:12"
token-file = "/nowhere/office.token"

[search]
k = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file, with two profiles."""
    for variable in ("CONFIG", "ADDRESS", "PROFILE", "TOKEN_FILE", "TLS"):
        monkeypatch.delenv(f"BLINDSIGHT_{variable}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "blindsight").mkdir()
    made = tmp_path / "blindsight" / "config.toml"
    made.write_text(TWO)
    return made


def said(capsys, *arguments, code=1):
    assert app.run(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_what_is_said_nearer_counts_and_a_profile_is_taken_whole(file, monkeypatch, capsys):
    office = "cannot read the token file /nowhere/office.token"
    assert f"{AWAY}127.0.0.1:11;" in said(capsys, "collection", "list", "--profile", "home")
    assert office in said(capsys, "status", "--profile", "office", code=2)
    monkeypatch.setenv("BLINDSIGHT_PROFILE", "office")
    assert office in said(capsys, "status", code=2)
    assert f"{AWAY}127.0.0.1:11;" in said(capsys, "status", "--profile", "home")
    # Another address is not shown the profile's token.
    assert f"{AWAY}127.0.0.1:13;" in said(capsys, "status", "--address", "127.0.0.1:13")
    monkeypatch.setenv("BLINDSIGHT_ADDRESS", "127.0.0.1:14")
    assert f"{AWAY}127.0.0.1:14;" in said(capsys, "status")
    # Nor is the profile shown the token of a variable.
    monkeypatch.setenv("BLINDSIGHT_TOKEN_FILE", "/nowhere/other.token")
    assert f"{AWAY}127.0.0.1:11;" in said(capsys, "status", "--profile", "home")
    said_beside = said(capsys, "status", "--profile", "home", "--token-file", "/nowhere/given", code=2)
    assert "cannot read the token file /nowhere/given" in said_beside


def test_the_profile_of_the_file_is_for_commands_that_name_none(file, monkeypatch, capsys):
    file.write_text(f'profile = "home"\n{TWO}')
    assert f"{AWAY}127.0.0.1:11;" in said(capsys, "status")
    monkeypatch.setenv("BLINDSIGHT_ADDRESS", "127.0.0.1:14")
    assert f"{AWAY}127.0.0.1:14;" in said(capsys, "status")
    file.write_text(f'address = "127.0.0.1:15"\nprofile = "home"\n{TWO}')
    monkeypatch.delenv("BLINDSIGHT_ADDRESS")
    assert f"{AWAY}127.0.0.1:15;" in said(capsys, "status")


def test_the_sdk_finds_a_profile_too(file, monkeypatch):
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:11"):
        blindsight.connect(profile="home")
    with pytest.raises(InvalidArgument, match="an address and a profile, want one of them"):
        blindsight.connect("127.0.0.1:1", profile="home")
    monkeypatch.setenv("BLINDSIGHT_PROFILE", "home")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:11"):
        blindsight.connect()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:13"):
        blindsight.connect("127.0.0.1:13")


def test_a_profile_that_is_not_there_lists_those_that_are(file, capsys):
    told = said(capsys, "status", "--profile", "work", code=2)
    assert told == f"blindsight: error: there is no profile 'work' in {file}, want one of home, office\n"
    file.write_text("")
    told = said(capsys, "logout", "--profile", "work", code=2)
    assert told.endswith("and no other: `blindsight login` makes one\n")


def test_two_places_at_once_are_refused(file, capsys):
    told = said(capsys, "status", "--profile", "home", "--address", "127.0.0.1:1", code=2)
    assert told == "blindsight: error: --address and --profile, want one of them: a profile has its address\n"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[profiles]\nhome = 1", "home in [profiles] is no profile, want [profiles.NAME]"),
        ("profiles = 1", "profiles is no table, want [profiles.NAME]"),
        ("[profiles.home]", "[profiles.home] has no address, want HOST:PORT"),
        ("[profiles.home]\naddress = 1", "[profiles.home]: address: got 1, want one text"),
        ('[profiles.home]\naddress = "x"', "[profiles.home]: address 'x', want HOST:PORT"),
        (
            '[profiles.home]\nadress = "x"',
            "[profiles.home] has 'adress', want some of address, tls, token-file",
        ),
    ],
)
def test_a_profile_that_is_wrong_is_one_clear_line(file, capsys, text, wrong):
    file.write_text(text)
    told = said(capsys, "profiles", "list", code=2)
    assert told == f"blindsight: error: {file}: {wrong}\n"


@pytest.mark.parametrize("name", ["", "-x", "a.b", "a b", "a" * 65, "ä", "a]\n[b"])
def test_a_name_that_toml_would_not_have_bare_is_refused(file, capsys, name):
    told = said(capsys, "login", "--profile", name, "--address", "127.0.0.1:1", code=2)
    assert "want at most 64 letters, digits, - and _" in told
    assert file.read_text() == TWO


@pytest.mark.parametrize("name", ["home", "office", "new"])
def test_a_change_leaves_the_rest_of_the_file_as_it_is(file, name):
    made = Profile(name, "[::1]:7421", Path('/tokens/of "me".token'), Path("/certificates"))
    text = profiles._with(TWO, made, file)
    file.write_text(text)
    assert find(name) == made
    before = tomllib.loads(TWO)
    after = tomllib.loads(text)
    assert {key: value for key, value in after.items() if key != "profiles"} == {
        key: value for key, value in before.items() if key != "profiles"
    }
    assert [
        line for line in text.split("\n") if line.startswith(("# mine", "# of the office", "quiet", "k ="))
    ] == [
        "# mine",
        "quiet = true # nothing but answers",
        "# of the office",
        "k = 3",
    ]
    without = profiles._without(f'profile = "{name}"\n{text}', name, file)
    del after["profiles"][name]
    assert tomllib.loads(without) == after


@pytest.mark.parametrize(
    "text",
    [
        'profiles.home = {address = "127.0.0.1:1"}\n',
        '[profiles]\nhome = {address = "127.0.0.1:1"}\n',
        '[profiles]\nhome.address = "127.0.0.1:1"\n',
    ],
)
def test_a_file_that_is_written_in_another_way_is_not_changed(file, text):
    file.write_text(text)
    assert find("home").address == "127.0.0.1:1"
    with pytest.raises(InvalidArgument, match=r"want \[profiles\.home\] as a table of its own"):
        profiles._with(text, Profile("home", "127.0.0.1:2"), file)
    with pytest.raises(InvalidArgument, match=r"want \[profiles\.home\] as a table of its own"):
        profiles._without(text, "home", file)
