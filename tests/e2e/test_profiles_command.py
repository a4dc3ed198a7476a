"""`blindsight login`, `logout` and `profiles`, at a vault that `up` runs."""

import json
import stat
import subprocess

import pytest
from support import answers
from support.command import COMMAND, NO_BULK, SO_FAR, Up, environment, run, run_on_terminal


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with Up(tmp_path_factory.mktemp("profiles") / "vault", *NO_BULK) as started:
        assert run("collection", "create", "holiday", address=started.address).returncode == 0
        yield started


@pytest.fixture
def token(up):
    """A token of somebody who may search."""
    made = run("tokens", "create", "--role", "searcher", "--json", address=up.address)
    return json.loads(made.stdout)["token"]


@pytest.fixture
def home(tmp_path):
    """Variables of a user who has nothing yet: neither a file, nor a note of the vault's owner."""
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_STATE_HOME": str(tmp_path / "state")}


def blind(home, *arguments, stdin="", code=0):
    """What a command prints, which is run as that user."""
    kept = environment(**home)
    del kept["BLINDSIGHT_CONFIG"]
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        input=stdin,
        text=True,
        capture_output=True,
        env=kept,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    answers.check(list(map(str, arguments)), done.stdout, done.stderr, done.returncode)
    return done.stdout if code == 0 else SO_FAR.sub("", done.stderr)


@pytest.mark.timeout(300)  # a dozen commands, each a process
def test_who_logs_in_needs_no_other_word(up, token, home, tmp_path):
    told = json.loads(blind(home, "login", "--address", up.address, "--json", stdin=f"{token}\n"))
    kept = tmp_path / "config" / "blindsight" / "default.token"
    assert told == {
        "profile": "default",
        "address": up.address,
        "token_file": str(kept),
        "tls": None,
        "usual": True,
        "collections": 1,
    }
    assert kept.read_text().strip() == token
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert token not in (kept.parent / "config.toml").read_text()
    assert [
        one["name"] for one in json.loads(blind(home, "collection", "list", "--json"))["collections"]
    ] == ["holiday"]
    assert "permission denied" in blind(home, "tokens", "list", code=1)
    # A second one, by a file; and another token for the first.
    given = tmp_path / "given"
    given.write_text(token)
    blind(home, "login", "--profile", "other", "--address", up.address, "--token-file", given)
    blind(home, "login", stdin=token)
    listed = json.loads(blind(home, "profiles", "list", "--json"))["profiles"]
    assert {one["profile"]: one["usual"] for one in listed} == {"default": True, "other": False}
    assert blind(home, "profiles", "list").count(up.address) == 2
    # Gone, with its token and with its word; the other stays.
    assert json.loads(blind(home, "logout", "--json")) == {"logged_out": "default"}
    assert sorted(one.name for one in kept.parent.iterdir()) == ["config.toml", "other.token"]
    blind(home, "collection", "list", "--profile", "other")
    assert "no profile 'default' in" in blind(home, "logout", code=2)
    assert given.exists()


def test_a_token_is_asked_for_on_a_terminal_and_not_shown(up, token, home, tmp_path):
    kept = {**home, "BLINDSIGHT_CONFIG": str(tmp_path / "mine.toml")}
    (tmp_path / "mine.toml").write_text("# mine\n")
    shown = run_on_terminal("login", "--address", up.address, answers={"Token: ": f"{token}\n"}, **kept)
    assert shown.returncode == 0, shown.output
    assert token not in shown.output
    assert f"Logged in at {up.address} as profile default: 1 collection." in shown.output
    assert (tmp_path / "mine.toml").read_text().endswith(f'token-file = "{tmp_path}/default.token"\n')


@pytest.mark.parametrize(
    ("typed", "said", "code"),
    [
        ("bs1_" + 12 * "0" + "_" + 64 * "0", "unauthenticated: the token is not known here", 1),
        ("", "what came is no token, want one line: bs1_ID_SECRET, or a JWT", 2),
        ("two words", "what came is no token", 2),
        ("x" * 9000, "what came is no token", 2),
    ],
)
def test_a_token_that_does_not_hold_leaves_nothing_behind(up, home, tmp_path, typed, said, code):
    told = blind(home, "login", "--address", up.address, stdin=typed, code=code)
    assert said in told
    assert told.count("\n") == 1
    assert not list(tmp_path.rglob("*.*"))


def test_an_address_beyond_this_machine_wants_a_certificate(home):
    told = blind(home, "login", "--address", "192.0.2.1:7421", stdin="bs1_x", code=2)
    assert "a token would go unencrypted to 192.0.2.1:7421, want TLS" in told
