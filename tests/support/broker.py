"""A RabbitMQ broker of a test's own: its folders, ports, cookie and port mapper, stopped as a group."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from support.ports import free_ports
from support.servers import require

USER, PASSWORD = "guest", "guest"
START_SECONDS = 90
STOP_SECONDS = 60
# What is deployed, where certificates are a vault's.
DEPLOYED = Path(__file__).parents[2] / "deploy" / "rabbitmq" / "10-tls.conf"
_LISTENERS = """
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
"""
_CONFIGURATION = """
log.console = true
log.console.level = warning
log.file = false
vm_memory_high_watermark.absolute = 2GB
disk_free_limit.absolute = 50MB
"""


class Broker:
    """A broker that keeps its messages when it is started again.

    Args:
        folder: for all that it writes.
        certificate: of its TLS listener, PEM.
        key: of the certificate, PEM.
        vault: whether they are of a vault, with `ca.crt` beside them: it then has the listener that is
            deployed, and no other.
    """

    def __init__(self, folder: Path, certificate: Path, key: Path, *, vault: bool = False) -> None:
        self._server = require("rabbitmq-server")
        self._folder = folder
        self.port, self.tls_port, distribution, mapper = free_ports(4)
        self.url = f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/"
        self._mapper = ["epmd", "-port", str(mapper), "-address", "127.0.0.1"]
        if vault:
            listeners = DEPLOYED.read_text().replace("/run/tls", str(certificate.parent))
            listeners = listeners.replace("default = 5671", f"1 = 127.0.0.1:{self.tls_port}")
            self.url = f"amqps://{USER}:{PASSWORD}@127.0.0.1:{self.tls_port}/"
        else:
            listeners = _LISTENERS.format(
                port=self.port, tls_port=self.tls_port, certificate=certificate, key=key
            )
        self._vault = vault
        self._write("rabbitmq.conf", listeners + _CONFIGURATION)
        self._write("enabled_plugins", "[].\n")
        self._write("env.conf", "")
        self._write(".erlang.cookie", os.urandom(16).hex()).chmod(0o400)
        self.environment = _inherited() | {
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_BYTES": "0",
            "RABBITMQ_NODENAME": f"t{self.port}@localhost",
            "RABBITMQ_BASE": str(folder),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
            ),
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text)
        return path

    def start(self) -> None:
        """Starts it and waits until it speaks AMQP."""
        for command in (self._mapper, [str(self._server)]):
            with (self._folder / "out.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen(
                        command,
                        env=self.environment,
                        cwd=self._folder,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._processes[-1].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ did not start: {self.log()[-3000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Whether it says anything to the header of AMQP 0-9-1, or listens if that wants a certificate."""
        if self._vault:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.tls_port), 1):
                return True
            return False
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"AMQP\0\0\x09\x01")
            connection.settimeout(1)
            return bool(connection.recv(8))
        return False

    def log(self) -> str:
        """What it wrote."""
        return (self._folder / "out.log").read_text(errors="replace")

    def control(self, *arguments: str) -> str:
        """Runs `rabbitmqctl`; returns what it printed."""
        command = [str(self._server.parent / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        """SIGTERM: it closes its files."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9 of all its processes."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        while self._processes:
            process = self._processes.pop()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            process.wait(STOP_SECONDS)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
