"""`hami node-facts`: what `hami doctor` asks a plugin's Pod about its node, as JSON. For programs."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

from hami_dra.cli import options
from hami_dra.devices import families as devices
from hami_dra.model.names import DRIVER
from hami_dra.ops import node_facts as facts


@click.command("node-facts", hidden=True)
@click.option(
    "--node-name", envvar="HAMI_NODE_NAME", default=os.uname().nodename, show_default=True, help="The node."
)
@options.places
@options.families("Families that the plugin here serves")
def node_facts(
    node_name: str,
    state_dir: Path,
    cdi_dir: Path,
    plugins_dir: Path,
    registry_dir: Path,
    limiter_dir: Path | None,
    families: list[str],
    profiles_dir: Path | None,
) -> None:
    """Print the state of this node's files and sockets as JSON.

    \b
    Example:
      hami node-facts --node-name worker-1
    """
    where = facts.Places(state_dir, cdi_dir, plugins_dir, registry_dir, limiter_dir)
    good, refused = devices.profiles([name for name in families if name != devices.NVIDIA], profiles_dir)
    drivers = [*([DRIVER] if devices.NVIDIA in families else []), *(profile.driver for profile in good)]
    seen = facts.gather(
        node_name, where, host=False, drivers=drivers, refused=[str(problem) for problem in refused]
    )
    click.echo(msgspec.json.encode(seen).decode())
