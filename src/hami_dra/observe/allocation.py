"""Slices and claims -> cards and the shares that are allocated of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hami_dra.model import names, quantity
from hami_dra.model.claim import allocated
from hami_dra.model.published import newest

Object = dict[str, Any]


@dataclass(frozen=True)
class Card:
    """A published card of any family. `memory` in bytes, `cores` in percent (100 is the whole card).

    `counted`: what the whole card publishes as cores, where a family counts them. `partition`: one of several
    ways to cut a card, there only while it is allocated.
    """

    node: str
    pool: str
    device: str
    uuid: str
    index: int
    product: str
    memory: int
    cores: int
    driver: str
    counted: int = 100
    partition: bool = False


@dataclass(frozen=True)
class Allocation:
    """A share of a card as the scheduler gave it to a claim. PODS: who uses it, none yet or several."""

    card: Card
    namespace: str
    claim: str
    share_id: str
    memory: int
    cores: int
    pods: tuple[str, ...]


def cards(slices: Iterable[Object]) -> list[Card]:
    """Our published cards, by node, family and index."""
    found = [
        _card(item["spec"], device)
        for item in newest(slices)
        if names.is_ours(item["spec"]["driver"])
        for device in item["spec"].get("devices") or []
    ]
    return sorted(found, key=lambda card: (card.node, card.driver, card.index))


def allocations(published: Iterable[Card], claims: Iterable[Object]) -> list[Allocation]:
    """What is allocated of the cards, each share once."""
    by_device = {(card.driver, card.pool, card.device): card for card in published}
    found = []
    for claim in claims:
        holders = (claim.get("status") or {}).get("reservedFor") or []
        for result in allocated(claim):
            card = by_device.get((result["driver"], result["pool"], result["device"]))
            if card is None or result.get("adminAccess"):
                continue
            taken = result.get("consumedCapacity") or {}
            found.append(
                Allocation(
                    card=card,
                    namespace=claim["metadata"]["namespace"],
                    claim=claim["metadata"]["name"],
                    share_id=result.get("shareID") or "",
                    # What consumes nothing, as no share of a device does, has the whole of it.
                    memory=quantity.parse_int(taken.get("memory", card.memory)),
                    cores=quantity.parse_int(taken["cores"]) * 100 // card.counted
                    if "cores" in taken
                    else card.cores,
                    pods=tuple(holder["name"] for holder in holders),
                )
            )
    return found


def by_card(slices: Iterable[Object], claims: Iterable[Object]) -> dict[Card, list[Allocation]]:
    """Each card with the shares that are allocated of it; without the partitions that nobody has."""
    held: dict[Card, list[Allocation]] = {card: [] for card in cards(slices)}
    for each in allocations(held, claims):
        held[each.card].append(each)
    return {card: given for card, given in held.items() if given or not card.partition}


def _card(spec: Object, device: Object) -> Card:
    attributes = device.get("attributes") or {}
    capacity = device.get("capacity") or {}

    def text(name: str) -> str:
        return str(attributes.get(name, {}).get("string", ""))

    cores = quantity.parse_int(capacity.get("cores", {}).get("value", 0))
    number = attributes.get("minor") or attributes.get("index") or {}
    return Card(
        node=spec.get("nodeName", ""),
        pool=spec["pool"]["name"],
        device=device["name"],
        uuid=text("uuid"),
        index=int(number.get("int", 0)),
        product=text("productName"),
        memory=quantity.parse_int(capacity.get("memory", {}).get("value", 0)),
        cores=100 if cores else 0,
        driver=spec["driver"],
        counted=cores or 100,
        partition=bool(device.get("consumesCounters")),
    )
