"""`hami status`: the cluster at a glance."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Group, RenderableType
from rich.text import Text

from hami_dra.cli import look, options

if TYPE_CHECKING:
    from hami_dra.ops.overview import Card, Overview

WIDE = 100
"""Columns of a terminal from which on more is shown."""
GIB = 1024**3


@click.command()
@options.cluster
@options.output("table", "json", "yaml")
def status(kubeconfig: str | None, context: str | None, output: str) -> None:
    """Show the release, nodes, cards and shares.

    Exit code 0: everything that should run is ready; 1: something is not; 2: could not look.

    \b
    Examples:
      hami status
      hami status -o json | jq '.cards[] | [.node, .memory - .memory_allocated]'
    """
    from hami_dra.cli.connect import connect
    from hami_dra.model import errors
    from hami_dra.ops import overview
    from hami_dra.ops.gather import gather

    read = gather(connect(kubeconfig, context), into_nodes=False)
    if not read.reachable:
        raise errors.Unavailable(read.unreadable["version"])
    seen = overview.of(read)
    if output == "table":
        look.show(Group(*_page(seen)))
    else:
        look.machine(dataclasses.asdict(seen), output)
    sys.exit(2 if seen.unreadable else 0 if is_well(seen) else 1)


def is_well(seen: Overview) -> bool:
    """Is everything ready, and no card sick?"""
    serve = all(each.is_well for each in seen.components) and all(each.is_well for each in seen.nodes)
    return bool(seen.components) and serve and not any(card.taint for card in seen.cards)


def _page(seen: Overview) -> Sequence[RenderableType]:
    wide = look.console().width >= WIDE
    gate = look.mark("ok" if seen.gate == "on" else "error" if seen.gate == "off" else "unknown")
    parts: list[RenderableType] = [
        Text.assemble(f"Kubernetes {seen.kubernetes}   ", gate, f" DRAConsumableCapacity {seen.gate}")
    ]
    if seen.components or not seen.unreadable.keys() & {"daemon_sets", "deployments"}:
        parts += [Text(""), _components(seen)]
    if seen.nodes or "nodes" not in seen.unreadable:
        parts += [Text(""), _nodes(seen, wide)]
    if seen.cards:
        parts += [Text(""), _cards(seen.cards, wide), Text(_total(seen.cards))]
    if seen.shares:
        parts += [Text(""), _shares(seen, wide)]
    if seen.waiting:
        first = seen.waiting[0]
        namespace, _, pod = first.partition("/")
        others = f" and {len(seen.waiting) - 1} more" if len(seen.waiting) > 1 else ""
        parts += [Text(f"\nwaiting for a share: {first}{others}", "yellow")]
        # In one piece, however long, so that it can be copied.
        parts += [Text(f"  hami explain {pod} -n {namespace}", no_wrap=True, overflow="ignore")]
    parts += [
        Text(f"\ncannot read {name.replace('_', ' ')}: {why}", "magenta")
        for name, why in seen.unreadable.items()
    ]
    return parts


def _components(seen: Overview) -> RenderableType:
    if not seen.components:
        return Text("Nothing of ours is installed. Next: hami doctor", "yellow")
    shown = look.table("", "component", "ready", "image", right=["ready"])
    for each in seen.components:
        well = look.mark("ok" if each.is_well else "error")
        shown.add_row(
            well, each.name, f"{each.ready}/{each.wanted}", look.Name(each.image.rpartition("/")[2])
        )
    return shown


def _nodes(seen: Overview, wide: bool) -> RenderableType:
    if not seen.nodes and not seen.label:
        return Text("The plugin runs on no node. Next: hami doctor", "yellow")
    if not seen.nodes:
        return Text(f"No node is labelled {seen.label}. Next: kubectl label node NODE {seen.label}", "yellow")
    more = ["kubelet", "runtime"] if wide else []
    shown = look.table("", "node", "plugin", "cards", *more, right=["cards"])
    for node in seen.nodes:
        well = look.mark("ok" if node.is_well else "error")
        plugin = "ready" if node.plugin else "not ready"
        shown.add_row(
            well,
            look.Name(node.name),
            plugin,
            str(node.cards),
            *([node.kubelet, node.runtime] if wide else []),
        )
    return shown


def _cards(cards: list[Card], wide: bool) -> RenderableType:
    right = ["shares", "memory", "cores"]
    bars = [""] if look.console().width >= look.NARROW else []
    columns = ["", "node", "card", *(["product"] if wide else []), "shares", "memory", *bars, "cores"]
    columns += [""] if wide else []
    shown = look.table(*columns, right=right)
    for card in cards:
        shown.add_row(
            look.mark("error" if card.taint else "ok"),
            look.Name(card.node),
            look.Name(card.device),
            *([look.Name(card.product)] if wide else []),
            str(card.shares),
            f"{look.size(card.memory_allocated)}/{look.size(card.memory)}",
            *([look.bar(card.memory_allocated / card.memory if card.memory else 0.0)] if bars else []),
            f"{card.cores_allocated}/{card.cores}%",
            *([look.bar(card.cores_allocated / card.cores if card.cores else 0.0)] if wide else []),
        )
    return shown


def _total(cards: list[Card]) -> str:
    free = sum(card.memory - card.memory_allocated for card in cards)
    whole = sum(card.memory for card in cards)
    largest = max(card.memory - card.memory_allocated for card in cards)
    return f"{look.size(free)} of {look.size(whole)} free, {look.size(largest)} in one piece"


def _shares(seen: Overview, wide: bool) -> RenderableType:
    more = ["claim"] if wide else []
    shown = look.table(
        "namespace", "pod", *more, "node", "card", "memory", "cores", right=["memory", "cores"]
    )
    for share in seen.shares:
        shown.add_row(
            look.Name(share.namespace),
            look.Name(", ".join(share.pods) or "(nobody yet)"),
            *([look.Name(share.claim)] if wide else []),
            look.Name(share.node),
            look.Name(share.device),
            look.size(share.memory),
            f"{share.cores}%" if share.cores else "idle",
        )
    return shown
