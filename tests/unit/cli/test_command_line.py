"""Help, completion, exit codes and errors: the same in every command."""

import os
import subprocess
import sys

import click
import pytest

from hami_dra.cli.main import COMMANDS, LazyGroup, cli

SERVERS = {"plugin", "webhook", "monitor"}
"""Run by the chart, not typed by people."""
HAMI = [sys.executable, "-m", "hami_dra.cli.main"]


def run(*command, **environment):
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ) | environment)


def loaded(name):
    group = cli
    assert isinstance(group, LazyGroup)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_fits_80_columns_and_shows_an_example(name):
    command = loaded(name)
    text = command.get_help(click.Context(command, info_name=name, terminal_width=80, max_content_width=80))
    assert max(map(len, text.splitlines())) <= 80
    if name not in SERVERS:
        assert "Example" in text
        assert f"hami {name}" in text
    every = [option for option in command.params if isinstance(option, click.Option)]
    if name not in SERVERS:
        silent = [option.name for option in every if not option.help]
        assert silent == [], "options without help"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed_for_each_shell(shell):
    done = run(*HAMI, "completion", shell)
    assert done.returncode == 0
    assert "_HAMI_COMPLETE" in done.stdout


def test_bash_completes_commands_and_choices(tmp_path):
    script = run(*HAMI, "completion", "bash").stdout
    folder = os.path.dirname(sys.executable)
    asked = f"""
{script}
COMP_WORDS=(hami st); COMP_CWORD=1; _hami_completion hami; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(hami doctor -o ""); COMP_CWORD=3; COMPREPLY=(); _hami_completion hami; echo "${{COMPREPLY[@]}}"
"""
    done = run("bash", "-c", asked, PATH=f"{folder}:{os.environ['PATH']}")
    assert done.stdout.splitlines()[-2:] == ["status", "table json yaml"], done.stderr


def test_kubectl_completes_hami_through_its_own_protocol():
    program = os.path.join(os.path.dirname(sys.executable), "kubectl_complete-hami")
    done = run(program, "doctor", "-o", "j")
    assert done.stdout.splitlines() == ["json", ":4"]


def test_as_a_plugin_of_kubectl_it_calls_itself_so():
    program = os.path.join(os.path.dirname(sys.executable), "kubectl-hami")
    assert "Usage: kubectl hami status" in run(program, "status", "--help").stdout


@pytest.mark.parametrize("command", [["status"], ["top", "--once"], ["explain", "pod"], ["verify"]])
def test_without_a_cluster_one_line_says_so_and_the_code_is_2(command, tmp_path):
    nowhere = tmp_path / "config"
    nowhere.write_text("")
    done = run(*HAMI, *command, KUBECONFIG=str(nowhere))
    assert done.returncode == 2
    assert done.stderr.startswith("hami: no usable cluster configuration")
    assert "--kubeconfig or $KUBECONFIG" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_pipe_gets_whole_lines_and_no_colour(tmp_path):
    done = run(*HAMI, "doctor", "--node-only", "--state-dir", str(tmp_path / ("long-" * 30)))
    assert "\x1b" not in done.stdout
    assert f"{'long-' * 30}/lib" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["run", "--help"], {"kubernetes", "rich"}),
        (["convert", "-f", "tests/guide/compatible.yaml"], {"kubernetes"}),
    ],
    ids=["run", "convert"],
)
def test_nothing_is_imported_for_what_is_not_asked(arguments, heavy):
    """What needs no cluster must start at once: the API client alone takes half a second."""
    done = run(sys.executable, "-X", "importtime", "-m", "hami_dra.cli.main", *arguments)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hami_dra.cli" in imported
    assert imported.isdisjoint(heavy)


def test_top_is_live_on_a_terminal_and_ctrl_c_ends_it_well():
    """In a terminal of its own (pty); the first picture, then Ctrl-C."""
    done = run(
        sys.executable,
        "-c",
        f"""
import os, pty, select, signal, sys, time
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background was started with it ignored
    os.execv({sys.executable!r}, {[*HAMI, "top", "--here", "--interval", "0.2"]!r})
seen = b""
end = time.monotonic() + 30
while b"every 0.2 s" not in seen and time.monotonic() < end:
    if select.select([terminal], [], [], 0.5)[0]:
        seen += os.read(terminal, 65536)
os.write(terminal, b"\\x03")
while True:
    try:
        if not os.read(terminal, 65536):
            break
    except OSError:
        break
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), b"every 0.2 s" in seen)
""",
    )
    assert done.stdout.split() == ["0", "True"], done.stderr


def test_the_monitor_is_told_of_a_plugin_that_needs_no_label(monkeypatch):
    monkeypatch.setenv("HAMI_NODE_LABELS", "")
    assert loaded("monitor").make_context("monitor", []).params["node_labels"] == ""
    monkeypatch.delenv("HAMI_NODE_LABELS")
    assert loaded("monitor").make_context("monitor", []).params["node_labels"] == "gpu=on"
