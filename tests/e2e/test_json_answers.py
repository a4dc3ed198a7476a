"""Every command's answer in JSON is as the published schema says: `support.command` compares each."""

import json
import shutil

import numpy as np
import pytest
from support import photos
from support.command import Up, run, run_here

from blindsight.cli import schema

# What other tests run, as it takes minutes, or a configuration file.
ELSEWHERE = {"compare-schemes", "login", "logout", "profiles list"}


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with Up(tmp_path_factory.mktemp("answers") / "data") as services:
        yield services


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photos, vectors and a passphrase."""
    made = tmp_path_factory.mktemp("inputs")
    for name in ("coffee", "rocket"):
        (made / f"{name}.jpg").write_bytes(photos.jpeg(name))
    photos.photo("coffee").resize((60, 40)).save(made / "small.png")
    np.save(made / "rows.npy", np.random.default_rng(3).standard_normal((4, 8)))
    (made / "secret").write_text("words of a test\n")
    (made / "other").write_text("other words of a test\n")
    return made


@pytest.mark.timeout(300)
def test_the_answer_of_every_command_is_as_the_schema_says(up, folder, tmp_path):
    ran = {"up"}  # by the fixture

    def blind(*arguments, **options):
        done = run_here(*map(str, arguments), "--json", address=up.address, **options)
        assert done.returncode == 0, done.stderr
        words = [str(one) for one in arguments[:2]]
        ran.update({words[0], " ".join(words)} & schema.read()["answers"].keys())
        return json.loads(done.stdout)

    coffee, small = folder / "coffee.jpg", folder / "small.png"
    blind("collection", "create", "album", "--scheme", "bfv")
    blind("collection", "create", "rows", "--embedder", "none", "--dimension", "8")
    blind("ingest", "rows", "--vectors", folder / "rows.npy")
    told = blind("ingest", "album", coffee, small, "--planes", "--set", "taken=2024-05-01T12:00:00Z")
    item = told["items"][0]["id"]
    blind("ingest", "album", folder / "rocket.jpg", "--bulk")
    assert blind("collection", "list")["collections"]
    blind("collection", "describe", "album")
    (hits,) = blind("search", "album", coffee)["results"]
    assert hits[0]["metadata"] == {"taken": "2024-05-01T12:00:00Z"}
    blind("search", "rows", "--vectors", folder / "rows.npy")
    blind("verify", coffee, coffee)
    assert blind("items", "list", "album")["items"]
    assert blind("items", "list", "rows")["items"]
    blind("items", "show", "album", item)
    blind("items", "vector", "album", item)
    blind("items", "count", "album")
    blind("items", "set", "album", item, "--set", 'tags=["a"]')
    blind("get", "album", item, "-o", tmp_path / "out.jpg")
    blind("get", "album", item, "--planes", "-o", tmp_path / "out.png")
    (job,) = blind("jobs", "list")["imports"]
    for command in ("show", "watch", "cancel", "retry", "drop"):
        blind("jobs", command, job["import_id"], *(["--yes"] if command in ("cancel", "drop") else []))
    blind("combine", small, small, "--key-bits", "2048", "-o", tmp_path / "sum.npy")
    blind("filter", small, "--op", "sharpen", "-o", tmp_path / "filtered.png")
    blind("diff", small, small, "-o", tmp_path / "diff.png", "--report", tmp_path / "report")
    blind("keypoints", small, "-o", tmp_path / "keypoints.png", "--octaves", "1")
    blind("match", small, small, "-o", tmp_path / "match.png", "--octaves", "1")
    made = blind("tokens", "create", "--role", "searcher", "--collections", "album", "--expires", "1d")
    assert made["id"] in [one["id"] for one in blind("tokens", "list")["tokens"]]
    blind("tokens", "revoke", made["id"])
    assert blind("audit", "show", "--last", "2")["records"]
    assert blind("audit", "verify")["faults"] == []
    made = blind("tenants", "create", "acme", "--items", "5")
    assert made["id"] in [one["id"] for one in blind("tenants", "list")["tenants"]]
    blind("tenants", "set", "acme", "--bytes", "1000000")
    blind("tenants", "delete", "acme", "--yes")
    blind("collection", "alias", "album", "again")
    blind("collection", "unalias", "again")
    blind("collection", "rename", "rows", "lines")
    blind("collection", "truncate", "lines", "--yes")
    blind("delete", "album", item, "--yes")
    blind("repack", "album")
    blind("check")
    blind("status")
    blind("collection", "accept-rollback", "album", "--yes")
    blind("collection", "delete", "lines", "--yes")
    blind("schemes")
    assert blind("keys", "rotate", "--status")["state"] == "none"
    blind("keys", "create", "-o", tmp_path / "own.bsky", "--passphrase-file", folder / "secret")
    key_file = ("--key-file", tmp_path / "own.bsky", "--passphrase-file", folder / "secret")
    copied = blind(
        "keys", "export", "-o", tmp_path / "copy.bsky", *key_file, "--new-passphrase-file", folder / "other"
    )
    again = (*key_file[2:], "--new-passphrase-file", folder / "other")
    blind("keys", "rewrap", *key_file[:2], *again)
    copy = (tmp_path / "copy.bsky", "--key-file", tmp_path / "third.bsky")
    known = ("--passphrase-file", folder / "other", "--new-passphrase-file", folder / "secret")
    assert blind("keys", "import", *copy, *known)["key_id"] == copied["key_id"]
    blind("keys", "destroy", *key_file[:2], "--yes-destroy", copied["key_id"])
    own = ("--authority", tmp_path / "authority")
    assert blind("certificates", "init", *own)["folder"] == str(tmp_path / "authority")
    issued = blind("certificates", "issue", "storage", tmp_path / "of-storage", "--host", "::1", *own)
    assert blind("certificates", "list", *own) == {"certificates": [issued]}
    assert blind("certificates", "renew", tmp_path / "of-storage", *own) == {"renewed": []}
    revoked = {"revoked": [{**issued, "revoked": True}]}
    assert blind("certificates", "revoke", issued["serial"], *own) == revoked
    blind("down", "--data", tmp_path)
    blind("backup", tmp_path / "backup", "--data", up.data)
    blind("restore", tmp_path / "backup", "--data", tmp_path / "restored")
    shutil.rmtree(tmp_path / "restored")
    assert ran == schema.read()["answers"].keys() - ELSEWHERE


def test_an_answer_that_the_schema_does_not_know_is_noticed(up):
    from jsonschema import ValidationError
    from support import answers

    told = json.loads(run("status", "--json", address=up.address).stdout)
    answers.check(("status", "--json"), json.dumps(told), "", 0)
    for changed in (
        {**told, "more": 1},
        {**told, "key_id": 1},
        {k: v for k, v in told.items() if k != "lost"},
    ):
        with pytest.raises(ValidationError):
            answers.check(("status", "--json"), json.dumps(changed), "", 0)
