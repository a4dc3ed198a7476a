"""`blindsight up`: first start, restarts, supervision, draining, and everything that can be wrong."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.broker import Broker
from support.command import FEW_WORKERS, NO_BULK, Shell, Terminal, Up, run, started
from support.health import health
from support.metrics import scrape, value
from support.photos import small_photo
from support.ports import free_ports
from support.services import Services, wait_until

import blindsight
from blindsight.errors import PermissionDenied, Unavailable
from blindsight.rpc.keyholder.v1 import workers_pb2, workers_pb2_grpc
from blindsight.runtime.roles import Role
from blindsight.runtime.tls import Certificates
from blindsight.trusted.identity import Authority

PASSPHRASE = "correct horse battery staple"


@dataclass(frozen=True)
class FirstLife:
    """What the first start of a data folder did."""

    data: Path
    ready: dict
    told: str
    environments: dict[str, str]
    exit_code: int


@pytest.fixture(scope="module")
def first_life(tmp_path_factory) -> FirstLife:
    """A start without a passphrase file and without a terminal; 20 vectors; SIGTERM."""
    data = tmp_path_factory.mktemp("up") / "new" / "data"
    with Up(data) as up:
        with blindsight.connect(up.address) as vault:
            vault.create_collection("kept", embedder="none", dimension=8).ingest_vectors(np.eye(20, 8) + 1)
        environments = {name: environment_of(up.process_id(name)) for name in up.ready["services"]}
        up.ask_to_stop()
        return FirstLife(data, up.ready, up.errors, environments, up.wait())


@pytest.fixture
def home(first_life) -> Path:
    """The data folder after its first life."""
    return first_life.data


@pytest.fixture
def passphrase_file(tmp_path) -> Path:
    path = tmp_path / "passphrase.txt"
    path.write_text(PASSPHRASE + "\n")
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def alive(process_id: int) -> bool:
    """Whether a process runs; one that ended and waits to be reaped does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def environment_of(process_id: int) -> str:
    return Path(f"/proc/{process_id}/environ").read_bytes().decode()


def items(address: str) -> int:
    with blindsight.connect(address) as vault:
        return vault.collection("kept").describe().items


def best(address: str) -> str:
    """The best match of the fourth vector; nothing while a service is away."""
    with contextlib.suppress(Unavailable), blindsight.connect(address) as vault:
        return vault.collection("kept").search_vectors(np.eye(20, 8)[3] + 1).results[0][0].id
    return ""


def test_the_first_start_makes_keys_and_a_passphrase_and_says_so(first_life):
    data = first_life.data
    assert f"generated a passphrase into {data}/keyholder/passphrase" in first_life.told
    assert f"created the key set {data}/keyholder/keys.bsky" in first_life.told
    for secret in ("passphrase", "keys.bsky"):
        assert mode(data / "keyholder" / secret) == 0o600


def test_the_zones_share_no_folder_and_each_is_its_owners_alone(first_life):
    folders = sorted(first_life.data.iterdir())
    assert [folder.name for folder in folders] == [
        *("authority", "evaluator", "keyholder", "queue", "storage", "worker")
    ]
    for folder in folders:
        assert mode(folder) == 0o700
    logs = {"evaluator", "keyholder", "storage"}
    assert {path.parent.name for path in first_life.data.rglob("log.jsonl") if path.stat().st_size} == logs
    assert (first_life.data / "worker" / "worker-1.jsonl").stat().st_size > 0


def test_every_line_of_a_log_is_an_event_and_so_are_the_last_words_of_a_service(first_life):
    logs = [path for path in first_life.data.rglob("*.jsonl") if path.parent.name != "authority"]
    lines = [line for path in logs for line in path.read_text().splitlines()]
    assert {"listening", "ready", "drained"} <= {json.loads(line)["event"] for line in lines}


def test_each_service_has_its_own_certificate_of_one_authority(first_life):
    data = first_life.data
    assert mode(data / "authority" / "ca.key") == 0o600
    for name in ("storage", "evaluator", "keyholder", "worker"):
        own = Certificates(data / name / "tls").current
        assert own.role == name
        assert own.authority == (data / "authority" / "ca.crt").read_bytes()
        assert mode(data / name / "tls" / "tls.key") == 0o600
    keys = {path.read_bytes() for path in data.rglob("*.key")}
    assert len(keys) == 5
    for folder in ("storage", "evaluator"):
        for path in (data / folder).rglob("*"):
            assert not path.is_file() or (data / "authority" / "ca.key").read_bytes() not in path.read_bytes()


@pytest.mark.parametrize("name", ["storage", "evaluator"])
def test_an_untrusted_service_is_told_nothing_of_the_keyholder(first_life, name):
    seen = first_life.environments[name]
    assert f"BLINDSIGHT_{name.upper()}_DATA" in seen
    assert "KEYHOLDER" not in seen.upper()
    assert "PASSPHRASE" not in seen.upper()


def test_sigterm_ends_all_services_and_is_no_failure(first_life):
    assert first_life.exit_code == 0
    assert not any(alive(service["process_id"]) for service in first_life.ready["services"].values())


def test_a_later_start_opens_the_same_vault_for_itself_alone_and_ctrl_c_ends_it(home):
    key = (home / "keyholder" / "keys.bsky").read_bytes()
    with started("up", "--data", str(home), "--port", "0", *NO_BULK, **FEW_WORKERS) as process:
        address = process.stdout.readline().strip()
        assert items(address) == 20
        assert best(address) == "3"
        second = run("up", "--data", str(home), "--port", "0")
        assert second.returncode == 1
        assert second.stderr == f"blindsight: error: another `blindsight up` is running on {home}\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output == ""
    assert "stopped" in errors
    assert "generated" not in errors
    assert (home / "keyholder" / "keys.bsky").read_bytes() == key


def test_each_service_that_is_killed_comes_back_with_everything(home):
    with Up(home, *NO_BULK) as up:
        for name in ("storage", "evaluator", "keyholder"):
            os.kill(up.process_id(name), signal.SIGKILL)
            wait_until(
                lambda name=name: f"{name} was killed by SIGKILL" in up.errors, what=f"a word on {name}"
            )
            wait_until(lambda: best(up.address) == "3", seconds=60, what=f"{name} coming back")
            assert items(up.address) == 20
        assert up.process.poll() is None


def test_services_speak_to_each_other_alone_and_a_folder_from_before_is_given_certificates(home):
    for folder in ("authority", "storage/tls", "evaluator/tls", "keyholder/tls", "worker/tls"):
        shutil.rmtree(home / folder)
    with Up(home) as up:
        assert best(up.address) == "3"
        with blindsight.connect(up.address) as vault:
            assert vault.collection("kept").ingest_vectors(np.eye(1, 8) + 2, ids=["one more"]).stored
            vault.collection("kept").delete("one more")
        for name in ("storage", "evaluator"):
            code, line = health(up.ready["services"][name]["address"])
            assert (code, line.rpartition(": ")[2]) == (1, "UNAVAILABLE")
            assert health(up.ready["services"][name]["address"], "--tls", str(home / name / "tls")) == (0, "")
        with grpc.insecure_channel(up.address) as channel:  # workers have an address of their own
            with pytest.raises(grpc.RpcError) as refused:
                workers_pb2_grpc.WorkerServiceStub(channel).ReportItems(workers_pb2.ReportItemsRequest())
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_later_start_renews_what_ends_soon_and_keeps_the_authority(home):
    authority = (home / "authority" / "ca.crt").read_bytes()
    before = {path: path.read_bytes() for path in home.rglob("tls.crt")}
    Authority.open(home / "authority").issue(Role.STORAGE, home / "storage" / "tls", [], 29)
    (home / "evaluator" / "tls" / "tls.key").chmod(0o604)
    with Up(home, *NO_BULK) as up:
        assert best(up.address) == "3"
    assert (home / "authority" / "ca.crt").read_bytes() == authority
    changed = {path.parent.parent.name for path in before if path.read_bytes() != before[path]}
    assert changed == {"storage", "evaluator"}
    lasting = Certificates(home / "storage" / "tls").current.expires - time.time()
    assert lasting > 80 * 86_400


def test_beyond_this_machine_users_need_the_certificate_of_an_owner(home):
    with Up(home, "--host", "0.0.0.0", *NO_BULK) as up:
        with pytest.raises(Unavailable, match="BLINDSIGHT_TLS=FOLDER"):
            blindsight.connect(up.address)
        with (
            blindsight.connect(up.address, tls=home / "evaluator" / "tls") as vault,
            pytest.raises(PermissionDenied),
        ):
            vault.collections()
        token = home / "keyholder" / "owner.token"
        with blindsight.connect(up.address, tls=home / "owner", token_file=token) as vault:
            assert vault.collection("kept").describe().items == 20
        shown = {"BLINDSIGHT_TLS": str(home / "owner"), "BLINDSIGHT_TOKEN_FILE": str(token)}
        done = run("status", address=up.address, **shown)
        assert done.returncode == 0, done.stderr
        assert run("status", address=up.address).returncode == 1


@pytest.mark.timeout(180)
def test_a_broker_with_a_certificate_of_the_same_authority_is_the_queue(tmp_path):
    own = tmp_path / "data" / "queue" / "tls"
    Authority.create(tmp_path / "data" / "authority").issue(Role.QUEUE, own, [], 29)
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker", own / "tls.crt", own / "tls.key", vault=True)
    try:
        broker.start()
        with Up(tmp_path / "data", "--queue", broker.url) as up, blindsight.connect(up.address) as vault:
            album = vault.create_collection("album", embedder="pixels", dimension=64)
            assert album.ingest_bulk([("one.png", small_photo(1))]).wait().done == 1
    finally:
        broker.kill()
    # It is renewed with the others.
    assert Certificates(own).current.expires - time.time() > 80 * 86_400


def test_an_authority_whose_key_others_may_read_issues_nothing(tmp_path):
    Authority.create(tmp_path / "data" / "authority")
    (tmp_path / "data" / "authority" / "ca.key").chmod(0o644)
    done = run("up", "--data", str(tmp_path / "data"), "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith(
        "has mode 0644, want 0600: others than its owner may read it"
    )


def test_a_service_that_dies_again_and_again_is_given_up(home):
    with Up(home, *NO_BULK) as up:
        storage = up.ready["services"]["storage"]["address"]
        for death in range(1, 6):
            os.kill(serving(storage, home), signal.SIGKILL)
            wait_until(
                lambda death=death: up.errors.count("SIGKILL") == death, seconds=30, what="the next death"
            )
        assert up.wait() == 1
        (error,) = (json.loads(line) for line in up.errors.splitlines() if line.startswith("{"))
        assert error["reason"] == "UNAVAILABLE"
        assert error["message"].startswith("storage died 5 times in a row, each within 20 s of its start")
        assert error["message"].endswith(": was killed by SIGKILL")
        for name in ("evaluator", "keyholder"):
            assert not alive(up.process_id(name))


def serving(address: str, home: Path) -> int:
    """The process that is storage at the moment, once it serves."""
    host, _, port = address.rpartition(":")

    def find() -> int:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            for folder in Path("/proc").iterdir():
                with contextlib.suppress(OSError):
                    if (
                        folder.name.isdigit()
                        and b"services.storage" in (folder / "cmdline").read_bytes()
                        and f"{home}/storage" in environment_of(int(folder.name))
                    ):
                        return int(folder.name)
        return 0

    wait_until(find, seconds=30, what="storage serving")
    return find()


def test_when_up_itself_is_killed_no_service_is_left_behind(home):
    with Up(home, *NO_BULK) as up:
        processes = [up.process_id(name) for name in ("storage", "evaluator", "keyholder")]
        up.process.kill()
        up.wait()
        wait_until(lambda: not any(map(alive, processes)), what="the end of the services")


def test_a_second_signal_insists(home):
    with Up(home, *NO_BULK) as up:
        evaluator = up.process_id("evaluator")
        os.kill(evaluator, signal.SIGSTOP)  # it cannot drain
        up.ask_to_stop()
        wait_until(lambda: not alive(up.process_id("keyholder")), what="the keyholder's end")
        up.ask_to_stop(signal.SIGINT)
        assert up.wait() == 0
        assert "stopping at once" in up.errors
        assert not alive(evaluator)
        assert not alive(up.process_id("storage"))


def test_a_passphrase_that_is_typed_in_is_on_no_disk_and_in_no_environment(tmp_path):
    data = tmp_path / "data"
    typed = {"Passphrase: ": PASSPHRASE + "\n", "Once more: ": PASSPHRASE + "\n"}
    asked = ("--ask-passphrase", "--port", "0")
    terminal = Terminal("up", "--data", str(data), *asked, answers=typed, **FEW_WORKERS)
    output = terminal.wait_for("Ready at ")
    assert PASSPHRASE not in output  # not echoed
    assert not (data / "keyholder" / "passphrase").exists()
    children = Path(f"/proc/{terminal.process.pid}/task/{terminal.process.pid}/children").read_text().split()
    assert len(children) == 4
    for process in [terminal.process.pid, *map(int, children)]:
        assert PASSPHRASE not in environment_of(process)
        assert PASSPHRASE.encode() not in Path(f"/proc/{process}/cmdline").read_bytes()
    for path in data.rglob("*"):
        assert not path.is_file() or PASSPHRASE.encode() not in path.read_bytes()
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.close().returncode == 0

    # Later there is no terminal, and then there is one with somebody who mistypes.
    done = run("up", "--data", str(data), "--port", "0")
    assert done.returncode == 1
    assert "want --passphrase-file FILE, or a terminal to ask on" in done.stderr
    wrong = Terminal("up", "--data", str(data), "--port", "0", answers={"Passphrase: ": "mistyped it\n"})
    shown = wrong.close()
    assert shown.returncode == 1
    assert "the passphrase does not open" in shown.output


def test_a_passphrase_that_nobody_can_be_asked_for_makes_no_keys(tmp_path):
    done = run("up", "--data", str(tmp_path / "data"), "--port", "0", "--ask-passphrase")
    assert done.returncode == 2
    assert "there is no terminal to ask on: want --passphrase-file FILE" in done.stderr
    assert list((tmp_path / "data" / "keyholder").iterdir()) == []


def test_lines_that_were_pasted_behind_a_first_start_are_run_and_taken_for_no_passphrase(tmp_path):
    """As of a README: what stands below is on the terminal before `up` has begun."""
    lines = [
        "blindsight up --data vault --port 0 --workers 0 --detach | tee address",
        "export BLINDSIGHT_ADDRESS=$(cat address)",
        "blindsight collection create pasted | grep -c Created",
        "blindsight down --data vault",
        "echo en''d",
    ]
    with Shell(["bash", "--norc", "--noprofile", "-i"], tmp_path, **FEW_WORKERS) as shell:
        shown = shell.type("\n".join(lines) + "\n", until=r"(?m)^end\r", patience=110)
    assert re.search(r"(?m)^1\r", shown), shown
    assert re.search(r"(?m)^Stopped\.\r", shown), shown
    assert "assphrase:" not in shown


def test_a_detached_start_returns_when_all_is_ready_and_is_stopped_by_its_folder(tmp_path):
    data = tmp_path / "data"
    up = ("up", "--data", str(data), "--port", "0", *NO_BULK, "--detach")
    started = run(*up, "--json", **FEW_WORKERS)  # ends although pipes of its output would stay open in others
    assert started.returncode == 0, started.stderr
    ready = json.loads(started.stdout)
    try:
        assert run("status", address=ready["address"]).returncode == 0
        again = run(*up, **FEW_WORKERS)
        assert (again.returncode, again.stdout) == (1, "")
        assert "another `blindsight up` is running" in again.stderr
        process = int(json.loads((data / "up.json").read_text())["process_id"])
        assert os.getsid(process) == process
    finally:
        stopped = run("down", "--data", str(data), "--json")
    assert json.loads(stopped.stdout) == {"data": str(data), "stopped": True}
    for service in ready["services"].values():
        assert not alive(service["process_id"])
    assert not (data / "up.json").exists()
    said = [json.loads(line)["message"] for line in (data / "log.jsonl").read_text().splitlines()]
    assert said[-1] == "blindsight: stopped"
    assert json.loads(run("down", "--data", str(data), "--json").stdout)["stopped"] is False


def test_a_detached_start_that_fails_says_why_and_leaves_nothing_behind(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("up", "--data", str(tmp_path / "data"), "--port", port, "--detach", **FEW_WORKERS)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Address already in use" in done.stderr
    (tmp_path / "secret").write_text("words of a test\n")
    (tmp_path / "wrong").write_text("other words of it\n")
    home = tmp_path / "keys" / "keyholder"
    made = run("keys", "create", "-o", str(home / "keys.bsky"), "--passphrase-file", str(tmp_path / "secret"))
    assert made.returncode == 0, made.stderr
    up = ("up", "--data", str(tmp_path / "keys"), "--port", "0", "--passphrase-file", str(tmp_path / "wrong"))
    done = run(*up, "--detach", "--json", **FEW_WORKERS)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the passphrase does not open" in json.loads(done.stderr.splitlines()[-1])["message"]
    assert json.loads(run("down", "--data", str(tmp_path / "keys"), "--json").stdout)["stopped"] is False


def test_two_different_answers_make_no_keys(tmp_path):
    typed = {"Passphrase: ": PASSPHRASE + "\n", "Once more: ": "something else\n"}
    asked = ("--ask-passphrase", "--port", "0")
    shown = Terminal("up", "--data", str(tmp_path / "data"), *asked, answers=typed).close()
    assert shown.returncode == 1
    assert "the two passphrases differ" in shown.output
    assert list((tmp_path / "data" / "keyholder").iterdir()) == []


def test_keys_made_apart_are_opened_by_their_passphrase_from_a_pipe_and_by_no_other(
    tmp_path, passphrase_file
):
    data = tmp_path / "data"
    arguments = [
        "keys",
        "create",
        "-o",
        str(data / "keyholder"),
        "--passphrase-file",
        str(passphrase_file),
    ]
    made = json.loads(run(*arguments, "--json").stdout)
    assert made["file"] == str(data / "keyholder" / "keys.bsky")
    assert mode(Path(made["file"])) == 0o600
    again = run(*arguments)
    assert again.returncode == 1
    assert "never overwritten" in again.stderr
    pipe = tmp_path / "pipe"  # as of `--passphrase-file <(pass show vault)`
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=(PASSPHRASE + "\n",)).start()
    with Up(data, *NO_BULK, BLINDSIGHT_PASSPHRASE_FILE=str(pipe)) as up:
        with blindsight.connect(up.address) as vault:
            assert vault.status().key_id == made["key_id"]
        assert not (data / "keyholder" / "passphrase").exists()
    passphrase_file.write_text("another passphrase\n")
    done = run("up", "--data", str(data), "--port", "0", "--passphrase-file", str(passphrase_file))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(
        "blindsight: error: keyholder did not start: the passphrase does not open"
    )


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_metrics_are_served_where_the_start_says(home):
    ports = free_ports(5)
    names = ("keyholder", "evaluator", "storage", "worker-1", "worker-2")
    with Up(home, "--metrics-port", str(ports[0]), "--workers", "2") as up:
        assert best(up.address) == "3"
        told = [*(up.ready["services"][name] for name in names[:3]), *up.ready["workers"]]
        for name, port, one in zip(names, ports, told, strict=True):
            url = f"http://127.0.0.1:{port}/metrics"
            assert one["metrics"] == url
            (line,) = (line for line in up.lines if f"✓ {name}" in line)
            assert line.endswith(f" {url}\n")
            assert value(port, "process_start_time_seconds") > 0
        for port in ports[:3]:
            assert value(port, "grpc_server_handled_total", grpc_code="OK") > 0
        assert {one.name for one in scrape(ports[4])} >= {
            "blindsight_worker_items",
            "blindsight_memory_bytes",
        }


def test_without_being_asked_for_no_metrics_are_served(first_life):
    assert [one["metrics"] for one in first_life.ready["services"].values()] == [None] * 3


def test_a_metrics_port_that_is_taken_is_one_line_and_nothing_is_made(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("up", "--data", str(tmp_path / "data"), "--port", "0", "--metrics-port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"blindsight: error: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "is missing, and"),
        (damage, "or the file is damaged"),
    ],
    ids=["missing", "changed"],
)
def test_a_lost_or_damaged_key_file_is_said_and_never_replaced(home, harm, said):
    path = home / "keyholder" / "keys.bsky"
    kept = path.read_bytes()
    try:
        harm(path)
        harmed = path.read_bytes() if path.exists() else None
        done = run("up", "--data", str(home), "--port", "0")
        assert done.returncode == 1
        assert said in done.stderr.splitlines()[-1]
        assert (path.read_bytes() if path.exists() else None) == harmed
    finally:
        path.write_bytes(kept)


def test_a_port_that_is_taken_is_one_line_and_nothing_is_made(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("up", "--data", str(tmp_path / "data"), "--port", port)
    assert done.returncode == 1
    assert done.stderr == f"blindsight: error: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--data", "{tmp}/file"], 2, "is not a folder"),
        (["--data", "{tmp}/file/below"], 1, "cannot use"),
        (["--data", "{tmp}/data", "--passphrase-file", "{tmp}/gone"], 1, "cannot read the passphrase file"),
        (["--data", "{tmp}/data", "--passphrase-file", "{tmp}/file"], 1, "passphrase of 5 characters"),
        (["--data", "{tmp}/data", "--host", "no.such.host.invalid"], 1, "cannot listen on"),
        (["--data", "{tmp}/data", "--port", "-1"], 2, "--port"),
        (["--data", "{tmp}/data", "--port", "9101", "--metrics-port", "9100"], 2, "of which --port is 9101"),
        (["--data", "{tmp}/data", "--metrics-port", "65533"], 2, "65533 to 65536, want ports up to 65535"),
        (["--data", "{tmp}/data", "--queue", "http://me:secret@host/"], 2, "schemes embedded, amqp, amqps"),
        ([], 2, "Missing option '--data'"),
    ],
)
def test_what_cannot_be_started_is_one_line(tmp_path, arguments, code, said):
    (tmp_path / "file").write_text("short")
    done = run("up", "--port", "0", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.startswith("blindsight: error: ")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


def test_a_service_that_does_not_answer_shows_in_the_status(tmp_path):
    services = Services(tmp_path)
    try:
        services.start()
        services["evaluator"].kill()
        done = run("status", "--json", address=services.address())
    finally:
        services.stop()
    assert done.returncode == 1
    state = {service["name"]: service for service in json.loads(done.stdout)["services"]}
    assert not state["evaluator"]["reachable"]
    assert state["evaluator"]["error"]
    assert state["keyholder"]["reachable"]
    assert state["storage"]["reachable"]
    assert json.loads(done.stderr)["message"].startswith("evaluator is not reachable: ")
    assert done.stderr.count("\n") == 1


def test_keys_want_a_passphrase_from_a_file_or_a_terminal(tmp_path):
    done = run("keys", "create", "-o", str(tmp_path / "own.bsky"))
    assert done.returncode == 2
    assert done.stderr == (
        "blindsight: error: no passphrase: want --passphrase-file FILE, or a terminal to ask on\n"
    )
    typed = {"Passphrase: ": PASSPHRASE + "\n", "Once more: ": PASSPHRASE + "\n"}
    shown = Terminal("keys", "create", "-o", str(tmp_path / "own.bsky"), answers=typed).close()
    assert shown.returncode == 0
    assert mode(tmp_path / "own.bsky") == 0o600
