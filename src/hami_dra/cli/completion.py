"""`hami completion`: completion scripts of the shells, and completion of `kubectl hami`."""

from __future__ import annotations

import sys

import click
from click.shell_completion import ShellComplete, get_completion_class

VARIABLE = "_HAMI_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    `kubectl hami` completes by itself where kubectl does: kubectl asks `kubectl_complete-hami`.

    \b
    Examples:
      source <(hami completion bash)
      hami completion zsh > ~/.zfunc/_hami
      hami completion fish > ~/.config/fish/completions/hami.fish
    """
    from hami_dra.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101  the choices are those that click has
    # click asks bash for its version to warn of old ones; the script itself does not depend on it.
    click.echo(ShellComplete.source(found(cli, {}, "hami", VARIABLE)))


def kubectl_complete() -> None:
    """`kubectl_complete-hami WORDS...`: a candidate a line, then cobra's directive (4: no file names)."""
    from hami_dra.cli.main import cli

    *words, incomplete = sys.argv[1:] or [""]
    for item in ShellComplete(cli, {}, "hami", VARIABLE).get_completions(words, incomplete):
        click.echo(f"{item.value}\t{item.help}" if item.help else item.value)
    click.echo(":4")
