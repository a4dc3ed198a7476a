"""`blindsight ingest --bulk` and `blindsight jobs`, over what `blindsight up` runs."""

import json
import os
import signal

import pytest
from support.command import Terminal, Up, run_here, run_on_terminal
from support.photos import jpeg, many
from support.services import wait_until

import blindsight

PHOTOS = many(12)


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with Up(tmp_path_factory.mktemp("up") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("photos")
    for name, data in PHOTOS:
        (made / name).write_bytes(data)
    (made / "notes.txt").write_text("no photo")
    (made / "zz-empty.jpg").touch()
    (made / "zz-cut.jpg").write_bytes(jpeg("coins")[:3000])
    return made


def test_a_bulk_ingest_takes_what_files_beside_photos_say(up, name, tmp_path):
    for number, (photo_name, data) in enumerate(PHOTOS[:3]):
        (tmp_path / photo_name).write_bytes(data)
        (tmp_path / f"{photo_name}.json").write_text(json.dumps({"number": number} if number else []))
    told = answer(up, "ingest", name, str(tmp_path), "--bulk", "--sidecar", "--set", "owner=me")
    assert (told["received"], told["done"], told["failed"]) == (2, 2, 0)
    assert "skipped" not in told
    (unsent,) = told["unreadable"]
    assert unsent["message"] == (
        f"{PHOTOS[0][0]}.json: JSON of another kind (list), want an object of metadata"
    )
    listed = answer(up, "items", "list", name, "--order", "id")["items"]
    assert {item["name"]: item["metadata"] for item in listed} == {
        photo_name: {"number": number, "owner": "me"}
        for number, (photo_name, _) in enumerate(PHOTOS[:3])
        if number
    }


@pytest.fixture
def name(up, request):
    with blindsight.connect(up.address) as vault:
        vault.create_collection(request.node.name)
    return request.node.name


def answer(up, *arguments):
    done = run_here(*arguments, "--json", address=up.address)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_bulk_ingest_tells_what_became_of_each(up, folder, name):
    told = answer(up, "ingest", name, str(folder), "--bulk")
    assert (told["state"], told["received"], told["done"], told["failed"]) == ("finished", 14, 13, 1)
    (failed,), (remarked,) = told["failed_items"], told["remarked_items"]
    assert (failed["name"], failed["number"], failed["reason"]) == ("zz-empty.jpg", 13, "INVALID_IMAGE")
    assert (remarked["name"], remarked["number"]) == ("zz-cut.jpg", 12)
    assert told.pop("skipped") == 1
    assert answer(up, "jobs", "show", told["import_id"]) == told
    assert answer(up, "jobs", "list")["imports"][0]["import_id"] == told["import_id"]
    shown = run_here("jobs", "show", told["import_id"], address=up.address).stdout
    assert "zz-empty.jpg" in shown
    assert "no search will find it" in shown
    assert "13 stored, 0 duplicates, 1 failed" in shown
    assert answer(up, "jobs", "watch", told["import_id"])["failed"] == 1
    assert answer(up, "jobs", "cancel", told["import_id"])["state"] == "finished"
    assert answer(up, "jobs", "drop", told["import_id"], "--yes")["dropped"] == 0
    assert answer(up, "jobs", "retry", told["import_id"])["retried"] == 0


def test_a_detached_ingest_goes_on_by_itself_and_is_watched_on_a_terminal(up, folder, name):
    told = answer(up, "ingest", name, str(folder), "--bulk", "--detach", "--request-id", "my import")
    assert (told["request_id"], told["received"]) == ("my import", 14)
    again = answer(up, "ingest", name, str(folder), "--bulk", "--detach", "--request-id", "my import")
    assert again["import_id"] == told["import_id"]
    shown = run_on_terminal("jobs", "watch", told["import_id"], address=up.address)
    assert shown.returncode == 0
    assert "13 stored" in shown.output  # in colour, so in pieces
    assert "1 failed" in shown.output


def test_a_terminal_lists_short_ids_and_every_command_takes_them(up, folder, name):
    whole = answer(up, "ingest", name, str(folder), "--bulk")["import_id"]
    listed = run_on_terminal("jobs", "list", address=up.address).output
    assert whole[:8] in listed
    assert whole not in listed
    assert whole in run_here("jobs", "list", address=up.address).stdout
    assert answer(up, "jobs", "show", whole[:8].upper())["import_id"] == whole
    assert answer(up, "jobs", "retry", whole[:8]) == {"import_id": whole, "retried": 0}
    done = run_here("jobs", "show", "", address=up.address)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_a_worker_that_is_killed_is_started_again(up, folder, name):
    (worker,) = up.ready["workers"]
    os.kill(worker["process_id"], signal.SIGKILL)
    wait_until(lambda: "worker-1 works again" in up.errors, seconds=60, what="the worker's return")
    assert answer(up, "ingest", name, str(folder), "--bulk")["done"] == 13


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("jobs", "show", "nothing"), 1, "no import 'nothing'"),
        (("jobs", "cancel", "00" * 16), 1, "no import 0000"),
        (("ingest", "nowhere", __file__, "--bulk"), 1, "no collection 'nowhere'"),
        (("ingest", "nowhere", __file__, "--detach"), 2, "--detach and --request-id go with --bulk"),
        (("ingest", "nowhere", "--bulk"), 2, "--bulk takes photos"),
        (("ingest", "nowhere", __file__, "--bulk", "--planes"), 2, "--bulk takes photos"),
        (("ingest", "nowhere", "no such file", "--bulk"), 2, "no such file or folder"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(up, arguments, code, said):
    done = run_here(*arguments, address=up.address)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_bulk_ingest_of_nothing_but_trash_fails(up, folder, name):
    for file, said in (
        ("zz-empty.jpg", "none of 1 item could be taken; the first: photo is empty: 0 bytes"),
        ("notes.txt", f"none of 1 file could be sent; the first: {folder}/notes.txt: no photo by its name"),
    ):
        done = run_here("ingest", name, str(folder / file), "--bulk", address=up.address)
        assert done.returncode == 1
        assert said in done.stderr


def interrupted(up, name, request_id):
    """A submission that broke off; the id of its import, which is still receiving."""

    def one_and_then_nothing():
        yield PHOTOS[0]
        raise RuntimeError("the disk was pulled out")

    with blindsight.connect(up.address) as vault:
        with pytest.raises(RuntimeError, match="pulled out"):
            vault.collection(name).ingest_bulk(one_and_then_nothing(), request_id=request_id)
        (job,) = (one for one in vault.imports() if one.request_id == request_id)
    assert job.state == "receiving"
    return job.import_id


def test_nobody_takes_a_cancelled_import_for_stored(up, folder, name):
    job = interrupted(up, name, "cancelled")
    asked = run_here("jobs", "cancel", job, address=up.address)
    assert asked.returncode == 2
    assert "drop what is not stored yet? There is no terminal to ask on, want --yes" in asked.stderr
    assert answer(up, "jobs", "show", job)["state"] == "receiving"
    assert answer(up, "jobs", "cancel", job, "--yes")["state"] == "cancelled"
    again = ("ingest", name, str(folder), "--bulk", "--request-id", "cancelled")
    for arguments in (("jobs", "watch", job), again, (*again, "--detach"), (*again, "--detach", "--json")):
        done = run_here(*arguments, address=up.address)
        assert done.returncode == 1, arguments
        assert "the import was cancelled; " in done.stderr


def test_a_watch_says_when_nobody_answers_and_how_to_go_on_later(up, name):
    job = interrupted(up, name, "watched")
    terminal = Terminal("jobs", "watch", job, address=up.address)
    terminal.wait_for(f"import {job[:8]}")
    os.kill(up.process_id("keyholder"), signal.SIGKILL)
    terminal.wait_for(f"waiting for the keyholder at {up.address}, which does not answer")
    terminal.process.send_signal(signal.SIGINT)
    shown = terminal.close()
    assert shown.returncode == 128 + signal.SIGINT
    assert f"the import goes on; `blindsight jobs watch {job[:8]}` follows it" in shown.output
