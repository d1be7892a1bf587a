"""Entry point of `hami` (and `kubectl hami`).

Exit codes: 0 fine, 1 found something wrong or refused the input, 2 could not look.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from pathlib import Path

import click

from hami_dra import __version__
from hami_dra.model import errors

# name -> (module, attribute, one-line help). The help is here so that `hami --help` imports nothing.
# A command without help is for programs, and not listed.
COMMANDS = {
    "run": ("hami_dra.cli.run", "run", "Run a program under a share of a GPU of this host."),
    "slice": ("hami_dra.cli.slice", "slice_", "Print the ResourceSlice that the plugin would publish here."),
    "convert": ("hami_dra.cli.convert", "convert", "Show what admission makes of manifests, offline."),
    "doctor": ("hami_dra.cli.doctor", "doctor", "Check the cluster and say how to mend it."),
    "status": ("hami_dra.cli.status", "status", "Show the cluster at a glance: nodes, cards, shares."),
    "top": ("hami_dra.cli.top", "top", "Show what each share uses now, live."),
    "explain": ("hami_dra.cli.explain", "explain", "Say why a Pod waits, and what to do."),
    "verify": ("hami_dra.cli.verify", "verify", "Try that the rollout keeps its promises."),
    "bundle": ("hami_dra.cli.bundle", "bundle", "Collect a support bundle without secrets."),
    "completion": ("hami_dra.cli.completion", "completion", "Print the completion script of a shell."),
    "plugin": ("hami_dra.cli.plugin", "plugin", "Serve the DRA kubelet plugin (DaemonSet)."),
    "webhook": ("hami_dra.cli.webhook", "webhook", "Serve admission and the claim controller (Deployment)."),
    "monitor": ("hami_dra.cli.monitor", "monitor", "Serve allocation metrics (Deployment)."),
    "in-use": ("hami_dra.cli.in_use", "in_use", ""),
    "node-facts": ("hami_dra.cli.node_facts", "node_facts", ""),
}


class LazyGroup(click.Group):
    """A group whose subcommands are imported when used: `hami run` must not pay for the API client."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table, which is the order of use."""
        return [name for name, entry in COMMANDS.items() if entry[2]]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one subcommand."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry[0]), entry[1])
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items() if entry[2]])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hami")
def cli() -> None:
    """Share accelerators by memory and compute, through Kubernetes DRA or on this host."""


def main() -> None:
    """Run the command line; one clear line for every expected failure."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # signs and bars, where the locale has none
            stream.reconfigure(errors="replace")
    try:
        # A plugin's program is called kubectl-hami, and people type `kubectl hami`.
        named = Path(sys.argv[0]).name.replace("kubectl-", "kubectl ")
        cli(prog_name=named if named.startswith("kubectl") else "hami", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except click.Abort:
        sys.exit(130)
    except errors.UserError as problem:
        click.echo(f"hami: {problem}", err=True)
        sys.exit(1)
    except errors.HamiError as problem:
        click.echo(f"hami: {problem}", err=True)
        sys.exit(2)
    except OSError as problem:  # of what is printed: a disk is full
        click.echo(f"hami: {problem}", err=True)
        # Python would try to print the rest at its end, and tell the same once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)


if __name__ == "__main__":
    main()
