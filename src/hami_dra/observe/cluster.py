"""What the monitor knows at one moment, put together from what its caches hold. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hami_dra.observe import allocation, room, waiting
from hami_dra.observe.allocation import Allocation, Card
from hami_dra.observe.room import NamespaceUse, NodeRoom
from hami_dra.observe.waiting import Objects, Waiting


@dataclass(frozen=True)
class CardUse:
    """A card and what is allocated of it: bytes, cores in percent, and the shares."""

    card: Card
    memory: int
    cores: int
    shares: tuple[Allocation, ...]


@dataclass(frozen=True)
class PodShare:
    """What one Pod holds of a card. A claim that several Pods use is told for each of them."""

    card: Card
    namespace: str
    pod: str
    memory: int
    cores: int


@dataclass(frozen=True)
class Cluster:
    """Cards by node and index, what Pods hold of them, the sums, and who waits."""

    cards: Sequence[CardUse]
    shares: Sequence[PodShare]
    nodes: Sequence[NodeRoom]
    namespaces: Sequence[NamespaceUse]
    waiting: Sequence[Waiting]


def describe(objects: Objects) -> Cluster:
    """The cluster as OBJECTS say."""
    held = allocation.by_card(objects.slices, objects.claims)
    uses = [_use(card, shares) for card, shares in held.items()]
    allocated = [each for shares in held.values() for each in shares]
    return Cluster(
        cards=uses,
        shares=[
            PodShare(each.card, each.namespace, pod, each.memory, each.cores)
            for each in allocated
            for pod in each.pods or ("",)
        ],
        nodes=room.nodes({use.card: (use.memory, use.cores) for use in uses}),
        namespaces=room.namespaces(allocated),
        waiting=waiting.find(objects),
    )


def _use(card: Card, shares: list[Allocation]) -> CardUse:
    memory, cores = sum(share.memory for share in shares), sum(share.cores for share in shares)
    return CardUse(card, memory, cores, tuple(shares))
