"""Completion by the tab key, in the shells themselves."""

import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest
from support import servers
from support.command import COMMAND, PATIENCE_SECONDS, environment, run

# What each reads first: none of the user's own settings.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(blindsight completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -D -u; eval "$(blindsight completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "blindsight completion fish | source"),
}


class Typed:
    """An interactive shell on a terminal of its own."""

    def __init__(self, command, home):
        self._own, other = pty.openpty()
        path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
        variables = environment(PATH=path, HOME=str(home), TERM="dumb", COLUMNS="120", PS1="> ")
        # A shell wants a terminal that controls it.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=other, stdout=other, stderr=other, env=variables, cwd=home
        )
        os.close(other)
        self._seen = ""

    def type(self, text, until):
        os.write(self._own, text.encode())
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(until, self._seen):
            assert time.monotonic() < deadline, self._seen
            self._seen += os.read(self._own, 65536).decode("utf-8", "replace")
        self._seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._own)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tab_key_completes_commands_and_options(shell, tmp_path):
    if shell != "bash":
        servers.require(shell)
    command, first = SHELLS[shell]
    with Typed(command, tmp_path) as typed:
        typed.type(f"{first}; echo rea''dy\n", until=r"(?m)^ready\r")
        # What stands after the tab is read when the line is completed, and the command is run as it is then.
        typed.type("blindsight stat\t --help\n", until=r"Usage: blindsight status")
        typed.type("blindsight collection desc\t --he\t\n", until=r"Usage: blindsight collection describe")


def test_a_shell_without_a_script_is_one_line():
    done = run("completion", "tcsh")
    assert done.returncode == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.stderr
    assert done.stderr.count("\n") == 1
