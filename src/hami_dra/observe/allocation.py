"""Slices and claims -> cards and the shares that are allocated of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hami_dra.model import names, quantity

Object = dict[str, Any]


@dataclass(frozen=True)
class Card:
    """A published card. `memory` in bytes, `cores` in percent (100 is the whole card)."""

    node: str
    pool: str
    device: str
    uuid: str
    index: int
    product: str
    memory: int
    cores: int


@dataclass(frozen=True)
class Share:
    """A share of a card, held by one Pod; a Pod's name is empty while none has reserved the claim."""

    card: Card
    namespace: str
    pod: str
    memory: int
    cores: int


def cards(slices: Iterable[Object]) -> list[Card]:
    """Our published cards, by node and index."""
    found = [
        _card(item["spec"], device)
        for item in slices
        if item["spec"]["driver"] == names.DRIVER
        for device in item["spec"].get("devices") or []
    ]
    return sorted(found, key=lambda card: (card.node, card.index))


def shares(published: Iterable[Card], claims: Iterable[Object]) -> Iterator[Share]:
    """What is allocated of the cards. A claim that several Pods use is one share, told for each of them.

    To add up what a card has given away use `consumed`, which counts a share once.
    """
    for card, claim, memory, cores in _results(published, claims):
        reserved = claim.get("status", {}).get("reservedFor") or [{"name": ""}]
        for holder in reserved:
            yield Share(card, claim["metadata"]["namespace"], holder["name"], memory, cores)


def consumed(published: Iterable[Card], claims: Iterable[Object]) -> dict[Card, tuple[int, int]]:
    """Bytes and cores that are allocated of each card, zero included."""
    total = dict.fromkeys(published, (0, 0))
    for card, _, memory, cores in _results(list(total), claims):
        before = total[card]
        total[card] = (before[0] + memory, before[1] + cores)
    return total


def _results(published: Iterable[Card], claims: Iterable[Object]) -> Iterator[tuple[Card, Object, int, int]]:
    by_device = {(card.pool, card.device): card for card in published}
    for claim in claims:
        allocation = claim.get("status", {}).get("allocation") or {}
        for result in allocation.get("devices", {}).get("results") or []:
            card = by_device.get((result["pool"], result["device"]))
            if result["driver"] != names.DRIVER or card is None or result.get("adminAccess"):
                continue
            taken = result.get("consumedCapacity") or {}
            yield (
                card,
                claim,
                quantity.parse_int(taken.get("memory", 0)),
                quantity.parse_int(taken.get("cores", 0)),
            )


def _card(spec: Object, device: Object) -> Card:
    attributes = device.get("attributes") or {}
    capacity = device.get("capacity") or {}

    def text(name: str) -> str:
        return str(attributes.get(name, {}).get("string", ""))

    return Card(
        node=spec.get("nodeName", ""),
        pool=spec["pool"]["name"],
        device=device["name"],
        uuid=text("uuid"),
        index=int(attributes.get("minor", {}).get("int", 0)),
        product=text("productName"),
        memory=quantity.parse_int(capacity.get("memory", {}).get("value", 0)),
        cores=quantity.parse_int(capacity.get("cores", {}).get("value", 0)),
    )
