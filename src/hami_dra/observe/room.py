"""How allocation adds up by node and namespace, and the largest share that still fits. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hami_dra.observe.allocation import Allocation, Card


@dataclass(frozen=True)
class NodeRoom:
    """Bytes, and percent of a card. `largest`: of the emptiest card, as a share lies on one card."""

    node: str
    cards: int
    memory: int
    free: int
    largest: int
    largest_cores: int


@dataclass(frozen=True)
class NamespaceUse:
    """What all shares of a namespace come to: bytes, percent of a card, number."""

    namespace: str
    memory: int
    cores: int
    shares: int


def nodes(consumed: dict[Card, tuple[int, int]]) -> list[NodeRoom]:
    """By node. CONSUMED: bytes and cores of each card that are allocated."""
    by_node: dict[str, list[Card]] = {}
    for card in consumed:
        by_node.setdefault(card.node, []).append(card)
    return [
        NodeRoom(
            node=node,
            cards=len(cards),
            memory=sum(card.memory for card in cards),
            free=sum(max(0, card.memory - consumed[card][0]) for card in cards),
            largest=max(max(0, card.memory - consumed[card][0]) for card in cards),
            largest_cores=max(max(0, card.cores - consumed[card][1]) for card in cards),
        )
        for node, cards in sorted(by_node.items())
    ]


def namespaces(allocations: Iterable[Allocation]) -> list[NamespaceUse]:
    """By namespace; each share once, however many Pods use it."""
    totals: dict[str, tuple[int, int, int]] = {}
    for each in allocations:
        memory, cores, shares = totals.get(each.namespace, (0, 0, 0))
        totals[each.namespace] = (memory + each.memory, cores + each.cores, shares + 1)
    return [NamespaceUse(name, *total) for name, total in sorted(totals.items())]
