"""Completion by the tab key, in the shells themselves."""

import pytest
from support import servers
from support.command import Shell, run

# What each reads first: none of the user's own settings.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(blindsight completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -D -u; eval "$(blindsight completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "blindsight completion fish | source"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tab_key_completes_commands_and_options(shell, tmp_path):
    if shell != "bash":
        servers.require(shell)
    command, first = SHELLS[shell]
    with Shell(command, tmp_path) as typed:
        typed.type(f"{first}; echo rea''dy\n", until=r"(?m)^ready\r")
        # What stands after the tab is read when the line is completed, and the command is run as it is then.
        typed.type("blindsight stat\t --help\n", until=r"Usage: blindsight status")
        typed.type("blindsight collection desc\t --he\t\n", until=r"Usage: blindsight collection describe")


def test_a_shell_without_a_script_is_one_line():
    done = run("completion", "tcsh")
    assert done.returncode == 2
    assert "got 'tcsh', want one of 'bash', 'zsh', 'fish'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("items", "list", "x", "--order", ""), ["added", "id"]),
        (("collection", "create", "x", "--embedder", "d"), ["descriptor"]),
        (("collection", "create", "x", "--scheme", ""), ["ckks", "bfv", "paillier"]),
        (("collection", "create", "x", "--metric", "c"), ["cosine"]),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_the_tab_key_completes_values_of_options(words, offered):
    asked = {
        "_BLINDSIGHT_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("blindsight", *words)),
        "COMP_CWORD": str(len(words)),
    }
    assert run(**asked).stdout.split() == offered
