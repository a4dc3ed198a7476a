"""`blindsight keys rewrap`, `export`, `import` and `destroy`, on the folder of a vault and away from it."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time

import pytest
from support import photos
from support.command import COMMAND, NO_BULK, Up, environment, run, run_on_terminal

OLD, NEW, OTHER = "the first words", "words that came later", "words for elsewhere"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    for name, text in (("old", OLD), ("new", NEW), ("other", OTHER)):
        (folder / name).write_text(text + "\n")
    return folder


@pytest.fixture(scope="module")
def made(words, tmp_path_factory):
    """A key file that other tests copy, and the id of its key."""
    path = tmp_path_factory.mktemp("made") / "keys.bsky"
    done = run("keys", "create", "-o", str(path), "--passphrase-file", str(words / "old"), "--json")
    return path, json.loads(done.stdout)["key_id"]


@pytest.fixture
def key_file(made, tmp_path):
    path = tmp_path / "keys.bsky"
    shutil.copy(made[0], path)
    return path


def opens(path, words, name):
    """Whether a passphrase opens a key file."""
    out = path.with_name(f"opened-with-{name}-{os.urandom(4).hex()}")
    sealed = ("--passphrase-file", str(words / name), "--new-passphrase-file", str(words / "other"))
    done = run("keys", "export", "-o", str(out), "--key-file", str(path), *sealed)
    out.unlink(missing_ok=True)
    assert done.returncode == 0 or "the passphrase does not open" in done.stderr, done.stderr
    return done.returncode == 0


def rewrapping(path, words):
    own = ("--passphrase-file", str(words / "old"), "--new-passphrase-file", str(words / "new"))
    return ("keys", "rewrap", "--key-file", str(path), *own)


def test_another_passphrase_opens_the_same_keys_and_the_old_one_nothing(key_file, made, words):
    key_file.chmod(0o640)
    before = key_file.read_bytes()
    copy = key_file.with_name("linked.bsky")
    with key_file.open("rb") as held:
        done = run(*rewrapping(key_file, words), "--json")
        assert json.loads(done.stdout) == {"file": str(key_file), "key_id": made[1], "removed": None}
        assert held.read() != before  # what it was sealed to before is overwritten
    assert (opens(key_file, words, "old"), opens(key_file, words, "new")) == (False, True)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o640
    # Another name of the old file is somebody's copy.
    os.link(key_file, copy)
    back = ("--passphrase-file", str(words / "new"), "--new-passphrase-file", str(words / "old"))
    assert run("keys", "rewrap", "--key-file", str(key_file), *back).returncode == 0
    assert opens(copy, words, "new")
    assert [one.name for one in key_file.parent.iterdir() if one.name.startswith(".key-")] == []


def test_a_passphrase_that_is_wrong_short_or_the_same_changes_nothing(key_file, words, tmp_path):
    before = key_file.read_bytes()
    (tmp_path / "short").write_text("short\n")
    for old, new, said in (
        (words / "new", words / "other", "the passphrase does not open"),
        (words / "old", tmp_path / "short", "passphrase of 5 characters, want at least 8"),
        (words / "old", words / "old", "the new passphrase is the old one"),
        ("-", "-", "are both -"),
    ):
        own = ("--passphrase-file", str(old), "--new-passphrase-file", str(new))
        done = run("keys", "rewrap", "--key-file", str(key_file), *own)
        assert done.returncode in (1, 2)
        assert said in done.stderr.splitlines()[-1]
    done = run("keys", "rewrap", "--key-file", str(key_file), "--passphrase-file", str(words / "old"))
    assert "no new passphrase: want --new-passphrase-file FILE" in done.stderr
    assert key_file.read_bytes() == before


def test_a_rewrap_that_kill_9_ends_leaves_a_file_that_one_passphrase_opens(key_file, words):
    before = key_file.read_bytes()
    for seconds in (0.9, 1.2, 1.5, 1.8):
        with subprocess.Popen([COMMAND, *rewrapping(key_file, words)], env=environment()) as process:
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
        if key_file.read_bytes() != before:
            break
    else:
        assert run(*rewrapping(key_file, words)).returncode == 0
    assert (opens(key_file, words, "old"), opens(key_file, words, "new")) == (False, True)
    back = ("--passphrase-file", str(words / "new"), "--new-passphrase-file", str(words / "old"))
    assert run("keys", "rewrap", "--key-file", str(key_file), *back).returncode == 0
    assert [one.name for one in key_file.parent.iterdir()] == ["keys.bsky"]


def test_a_file_of_another_version_or_kind_is_called_what_it_is(key_file, words, tmp_path):
    other = bytearray(key_file.read_bytes())
    other[4] = 2
    (tmp_path / "newer.bsky").write_bytes(other)
    (tmp_path / "photo.jpg").write_bytes(photos.jpeg("coffee"))
    into = ("--key-file", str(tmp_path / "made.bsky"), "--passphrase-file", str(words / "old"))
    for name, said in (
        ("newer.bsky", "of version 2, want version 1"),
        ("photo.jpg", "no Blindsight key file"),
    ):
        again = ("--new-passphrase-file", str(words / "new"))
        done = run("keys", "import", str(tmp_path / name), *into, *again)
        assert said in done.stderr
        assert done.returncode == 1
        done = run("keys", "destroy", "--key-file", str(tmp_path / name), "--yes-destroy", "0" * 32)
        assert said in done.stderr
    assert not (tmp_path / "made.bsky").exists()


@pytest.mark.timeout(400)
def test_a_copy_of_the_keys_opens_the_vault_for_a_second_keyholder(words, tmp_path):
    first, second, copy = tmp_path / "first", tmp_path / "second", tmp_path / "copy.bsky"
    sealed = ("--new-passphrase-file", str(words / "other"))
    with Up(first) as up:
        assert run("collection", "create", "holiday", address=up.address).returncode == 0
        (tmp_path / "coffee.jpg").write_bytes(photos.jpeg("coffee"))
        assert run("ingest", "holiday", str(tmp_path / "coffee.jpg"), address=up.address).returncode == 0
        before = json.loads(run("keys", "rotate", "--status", "--json", address=up.address).stdout)
        after = json.loads(run("keys", "rotate", "--json", address=up.address, patience=180).stdout)
        assert (before["state"], after["state"]) == ("none", "none")
        assert before["key_id"] != after["key_id"]
        # Its worker is given the new keys as well.
        (tmp_path / "rocket.jpg").write_bytes(photos.jpeg("rocket"))
        bulk = ("ingest", "holiday", str(tmp_path / "rocket.jpg"), "--bulk")
        assert run(*bulk, address=up.address, patience=180).returncode == 0
        # It works while the vault serves, and a change of the passphrase does not.
        assert run("keys", "export", "-o", str(copy), "--data", str(first), *sealed).returncode == 0
        done = run("keys", "rewrap", "--data", str(first), "--new-passphrase-file", str(words / "new"))
        assert f"`blindsight up` is running on {first}: stop it first" in done.stderr
        done = run("keys", "destroy", "--data", str(first), "--yes-destroy", "0" * 32)
        assert done.returncode == 1
        assert "is running on" in done.stderr
    done = run("keys", "export", "-o", str(copy), "--data", str(first), *sealed)
    assert f"{copy} exists; a key file is never overwritten" in done.stderr
    done = run("keys", "rewrap", "--data", str(first), "--new-passphrase-file", str(words / "new"), "--json")
    assert json.loads(done.stdout)["removed"] == str(first / "keyholder" / "passphrase")
    assert not (first / "keyholder" / "passphrase").exists()
    opening = ("--passphrase-file", str(words / "other"), "--new-passphrase-file", str(words / "old"))
    importing = ("keys", "import", str(copy), "--data", str(second), *opening)
    assert run(*importing).returncode == 0
    assert "never overwritten" in run(*importing).stderr
    # The other keyholder has what storage has; its heads and tokens are its own.
    shutil.copytree(first / "storage", second / "storage")
    shutil.copytree(first / "authority", second / "authority")
    with Up(second, *NO_BULK, "--passphrase-file", str(words / "old")) as up:
        found = json.loads(
            run("search", "holiday", str(tmp_path / "coffee.jpg"), "--json", address=up.address).stdout
        )
        assert found["results"][0][0]["name"] == "coffee.jpg"
    with Up(first, *NO_BULK, "--passphrase-file", str(words / "new")) as up:
        assert run("items", "count", "holiday", address=up.address).stdout.startswith("2")
    _destroyed(first)


def _destroyed(data):
    """A vault whose keys are gone has nothing left that they sealed or that opens them."""
    key_file = data / "keyholder" / "keys.bsky"
    asked = run("keys", "destroy", "--data", str(data))
    (key_id,) = set(re.findall(r"[0-9a-f]{32}", asked.stderr))
    assert (asked.returncode, "want --yes-destroy" in asked.stderr) == (2, True)
    wrong = run("keys", "destroy", "--data", str(data), "--yes-destroy", key_id[:31] + "x")
    assert "was not destroyed" in wrong.stderr
    assert key_file.exists()
    (data / "keyholder" / "rotation").mkdir()
    shutil.copy(key_file, data / "keyholder" / "rotation" / "another-name")
    asking = {"to destroy it": "holiday\n"}
    shown = run_on_terminal("keys", "destroy", "--data", str(data), answers=asking)
    assert (shown.returncode, "was not destroyed: 'holiday' is another id" in shown.output) == (1, True)
    with key_file.open("rb") as held:
        before = held.read()
        shown = run_on_terminal(
            "keys", "destroy", "--data", str(data), answers={"to destroy it": f"{key_id.upper()}\n"}
        )
        assert f"Destroyed key {key_id}: " in shown.output
        held.seek(0)
        assert held.read() != before
    left = {one.name for one in (data / "keyholder").iterdir()}
    assert not {one for one in left if one.endswith((".db", ".bsky", ".head", ".token"))}
    assert left <= {"lock", "log.jsonl", "tls", "rotation", "compiled", "audit"}
    assert not list((data / "keyholder" / "rotation").iterdir())
    assert "no key file at" in run("keys", "destroy", "--data", str(data), "--yes-destroy", key_id).stderr
