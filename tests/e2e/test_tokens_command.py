"""`blindsight tokens`, and what other commands do with the tokens of a vault that `up` runs."""

import json
import os
import re
import shutil
import stat
from pathlib import Path

import pytest
from support import photos
from support.command import NO_BULK, Up, run


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with Up(tmp_path_factory.mktemp("tokens") / "vault", *NO_BULK) as started:
        yield started


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "coffee.jpg"
    path.write_bytes(photos.jpeg("coffee"))
    return path


@pytest.fixture(scope="module")
def collection(up, photo):
    for name in ("holiday", "private"):
        assert run("collection", "create", name, address=up.address).returncode == 0
    assert run("ingest", "holiday", str(photo), address=up.address).returncode == 0
    return "holiday"


def token(up, folder, *arguments):
    """The file of a new token, and its id."""
    made = json.loads(run("tokens", "create", *arguments, "--json", address=up.address).stdout)
    file = folder / f"{made['id']}.token"
    file.write_text(made["token"])
    return str(file), made["id"]


def test_the_owner_on_this_machine_needs_no_word_of_it(up, collection):
    assert run("collection", "list", address=up.address).returncode == 0


def test_who_is_not_the_user_of_the_vault_is_refused(up, collection, tmp_path):
    done = run("collection", "list", address=up.address, XDG_STATE_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("blindsight: error: unauthenticated: the call shows no token, want one\n")


def test_a_token_does_what_its_role_may_and_for_its_collections(up, collection, photo, tmp_path):
    file, _ = token(up, tmp_path, "--role", "searcher", "--collections", collection, "--expires", "30d")
    found = json.loads(
        run("search", "holiday", str(photo), "--json", "--token-file", file, address=up.address).stdout
    )
    assert found["results"][0][0]["name"] == "coffee.jpg"
    listed = json.loads(
        run("collection", "list", "--json", address=up.address, BLINDSIGHT_TOKEN_FILE=file).stdout
    )
    assert [one["name"] for one in listed["collections"]] == ["holiday"]
    for arguments, said in [
        (
            ("ingest", "holiday", str(photo)),
            "permission denied: a token of role searcher may not call Ingest",
        ),
        (("collection", "delete", "holiday", "--yes"), "permission denied: "),
        (("search", "private", str(photo)), "no collection 'private'; it has 'holiday'"),
    ]:
        done = run(*arguments, "--token-file", file, address=up.address)
        assert done.returncode == 1
        assert f"blindsight: error: {said}" in done.stderr
    done = run("status", "--json", "--token-file", file, address=up.address)
    assert json.loads(done.stderr.splitlines()[-1])["reason"] == "PERMISSION_DENIED"


def test_tokens_are_listed_without_their_secret_and_revoked_at_once(up, collection, tmp_path):
    file, made = token(up, tmp_path, "--role", "uploader", "--label", "phone")
    listed = run("tokens", "list", address=up.address)
    assert re.search(rf"{made}  uploader +all  ", listed.stdout)
    assert Path(file).read_text().rpartition("_")[2] not in listed.stdout
    assert run("tokens", "revoke", made, address=up.address).stdout == f"Revoked {made}.\n"
    done = run("collection", "list", "--token-file", file, address=up.address)
    assert (done.returncode, done.stderr.startswith("blindsight: error: unauthenticated: ")) == (1, True)
    assert run("tokens", "revoke", made, address=up.address).returncode == 1


def test_a_token_is_written_to_a_new_file_for_its_owner_alone(up, tmp_path):
    file = tmp_path / "tablet.token"
    made = run("tokens", "create", "--role", "auditor", "--output", str(file), "--json", address=up.address)
    document = json.loads(made.stdout)
    assert (document["path"], "token" in document) == (str(file), False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith(f"bs1_{document['id']}_")
    before = len(json.loads(run("tokens", "list", "--json", address=up.address).stdout)["tokens"])
    content = file.read_bytes()
    done = run("tokens", "create", "--role", "auditor", "--output", str(file), address=up.address)
    assert (done.returncode, done.stdout, file.read_bytes()) == (1, "", content)
    assert f"{file} is there already" in done.stderr
    unmade = tmp_path / "unmade"
    done = run("tokens", "create", "--role", "king", "--output", str(unmade), address=up.address)
    assert (done.returncode, unmade.exists()) == (2, False)
    after = len(json.loads(run("tokens", "list", "--json", address=up.address).stdout)["tokens"])
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--role", "king"], "role 'king', want one of owner, editor, uploader, searcher, auditor"),
        (["--role", "editor", "--expires", "soon"], "--expires 'soon', want 90m, 12h or 30d, or a time as"),
        (["--role", "editor", "--expires", "2020-01-01"], "has expired already"),
        (["--role", "editor", "--expires", ""], "--expires '', want 90m, 12h or 30d, or a time as"),
        (["--role", "editor", "--collections", "nowhere"], "no collection 'nowhere'"),
        (["--role", "editor", "--collections", ""], "--collections '', want names with commas between them"),
        (["--role", "editor", "--collections", "holiday,,"], "want names with commas between them"),
        (["--role", "owner", "--collections", "holiday"], "want none: it is for all"),
    ],
)
def test_a_token_that_cannot_be_made_is_one_clear_line(up, collection, arguments, said):
    done = run("tokens", "create", *arguments, address=up.address)
    assert done.returncode in {1, 2}
    assert (said in done.stderr.splitlines()[-1], done.stdout) == (True, "")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot read the token file"), (b"", "holds no token"), (b"\xff\xfe", "holds no token")],
)
def test_a_file_without_a_token_is_said(up, tmp_path, content, said):
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    done = run("collection", "list", "--token-file", str(file), address=up.address)
    assert (done.returncode, said in done.stderr) == (2, True)


def test_a_copy_of_the_audit_log_is_verified_without_a_keyholder_and_tampering_ends_with_3(up, tmp_path):
    assert run("audit", "verify", address=up.address).returncode == 0
    folder = tmp_path / "copy"
    shutil.copytree(up.data / "keyholder", folder, ignore=shutil.ignore_patterns("*.db*"))
    secret = ("--folder", str(folder), "--passphrase-file", str(folder / "passphrase"))
    done = run("audit", "verify", *secret)
    assert (done.returncode, "all right" in done.stdout) == (0, True), done.stderr
    noted = re.search(r"--expect (\d+:[0-9a-f]{64})$", done.stdout, re.MULTILINE)[1]
    assert run("audit", "verify", *secret, "--expect", noted).returncode == 0
    (log,) = (folder / "audit").glob("*.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    done = run("audit", "verify", *secret, "--json")
    assert done.returncode == 3
    (fault,) = json.loads(done.stdout)["faults"]
    assert (fault["number"], fault["kind"], fault["what"]) == (3, "missing", "record 3 is missing: dropped")
    shown = run("audit", "show", "--last", "3", address=up.address)
    assert re.search(r"owner +\w+ .* OK", shown.stdout)


def test_the_note_is_the_users_alone_and_ends_with_the_vault(tmp_path):
    state = tmp_path / "state"
    with Up(tmp_path / "vault", *NO_BULK, XDG_STATE_HOME=str(state)) as up:
        (note,) = (state / "blindsight").iterdir()
        assert stat.S_IMODE(note.stat().st_mode) == 0o600
        assert Path(os.fsdecode(note.read_bytes())) == tmp_path / "vault" / "keyholder" / "owner.token"
        done = run("tokens", "list", "--json", address=up.address, XDG_STATE_HOME=str(state))
        assert [one["role"] for one in json.loads(done.stdout)["tokens"]] == ["owner"]
    assert list((state / "blindsight").iterdir()) == []
