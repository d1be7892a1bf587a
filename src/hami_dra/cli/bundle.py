"""`hami bundle`: one file for whoever helps you."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from pathlib import Path

import click

from hami_dra.cli import options


@click.command()
@options.cluster
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it (default: hami-bundle-TIME.tar.gz here).",
)
@options.places
def bundle(
    kubeconfig: str | None,
    context: str | None,
    path: Path | None,
    state_dir: Path,
    cdi_dir: Path,
    plugins_dir: Path,
    registry_dir: Path,
    limiter_dir: Path | None,
) -> None:
    """Collect versions, findings of the doctor, objects, events and logs into one tar file.

    No Secret goes into it. Of your Pods it holds names, images, requests and state, and no variable,
    argument or annotation; logs are ours alone, with what looks like a secret taken out. Look into it before
    you send it: contents.txt lists what is in it, errors.txt what could not be collected.

    Exit code 0: written whole; 1: written, with parts that could not be collected; 2: could not be written.

    \b
    Examples:
      hami bundle
      hami bundle -f /tmp/bundle.tar.gz --kubeconfig prod.yaml
    """
    from hami_dra.cli.connect import connect
    from hami_dra.kube.protocol import KubeClient
    from hami_dra.model import errors
    from hami_dra.ops import bundle as collected
    from hami_dra.ops.node_facts import Places

    where = Places(state_dir, cdi_dir, plugins_dir, registry_dir, limiter_dir)
    path = path or Path(f"hami-bundle-{datetime.datetime.now():%Y%m%d-%H%M%S}.tar.gz")
    client: KubeClient | None = None
    why_not = ""
    try:
        client = connect(kubeconfig, context)
        client.raw("/version")
    except errors.KubeError as problem:
        client, why_not = None, str(problem)
    try:
        made = collected.write(path, collected.steps(client, why_not, where), _progress())
    except OSError as problem:
        raise errors.StateError(f"{path}: cannot be written: {problem.strerror}") from problem
    problems = [f"cluster: {why_not}", *made.problems] if why_not else made.problems
    for left_out in problems:
        click.echo(f"  left out: {left_out}", err=True)
    click.echo(f"{made.path}: {made.files} files, {made.path.stat().st_size // 1024 + 1} KiB")
    sys.exit(1 if problems else 0)


def _progress() -> Callable[[str, int, int], None]:
    """A line for each step on standard error; on a terminal one line that changes."""
    terminal = sys.stderr.isatty()

    def tell(name: str, number: int, count: int) -> None:
        line = f"[{number}/{count}] {name}"
        click.echo(f"\r\x1b[K{line}" if terminal else line, err=True, nl=not terminal)
        if terminal and number == count:
            click.echo("\r\x1b[K", err=True, nl=False)

    return tell
