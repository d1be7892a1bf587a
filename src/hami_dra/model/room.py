"""Whether a claim finds cards: which match what it asks for, and what is free on them.

A sketch of the scheduler's allocator that is enough to say what is missing: it knows the selectors that
admission writes, takes every other expression for true, and leaves constraints but distinct cards aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hami_dra.model import names, quantity
from hami_dra.model.choice import Choice, parse
from hami_dra.model.claim import allocated
from hami_dra.model.published import Card, cards

Object = dict[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Wish:
    """One alternative of one request. Amounts in bytes and percent; `memory` None: the whole card."""

    device_class: str
    count: int
    memory: int | None
    cores: int
    choices: tuple[Choice, ...]

    def of_class(self, card: Card) -> bool:
        """Whether CARD is of the DeviceClass. One that is not of our chart may be of any family."""
        if not names.is_ours(self.device_class):
            return names.is_ours(card.driver)
        # A family's class is named as its driver; NVIDIA's driver has one more, for MIG instances.
        mig = card.text("type") == names.MIG_TYPE
        return self.device_class == (names.MIG_CLASS if mig else card.driver)

    def matches(self, card: Card) -> bool:
        """Whether CARD may serve it when it is empty and large enough."""
        return self.of_class(card) and all(choice.accepts(card) for choice in self.choices)

    def large_enough(self, card: Card) -> bool:
        """Whether CARD has the amounts at all."""
        return (self.memory or 0) <= card.memory and self.cores <= card.cores


Claim = tuple[tuple[Wish, ...], ...]
"""The requests of a claim, each with its alternatives."""


class Shortage(NamedTuple):
    """What a Pod lacks: a cause as in `explain`, what follows "it waits", and the next command."""

    reason: str
    words: str
    command: str


_WHOLE = "whole"
"""Taken of a device that is not shared: its allocation has no `shareID` and no `consumedCapacity`."""


@dataclass(frozen=True)
class Room:
    """The published cards, and what is allocated of each. KNOWN: what claims lack of it (`shortage`)."""

    cards: Sequence[Card]
    used: dict[Key, Counter[str]]
    known: dict[tuple[Claim, ...], Shortage | None] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, slices: Sequence[Object], claims: Sequence[Object]) -> Room:
        """The room of a cluster with these SLICES when all CLAIMS have taken theirs."""
        return cls(cards(slices), _used(claims))

    def free(self, card: Card) -> tuple[int, int]:
        """Bytes and percent that nobody has taken of CARD."""
        taken = self._taken(card)
        if taken[_WHOLE]:
            return 0, 0
        return card.memory - taken["memory"], card.cores - taken["cores"]

    def has(self, card: Card, wish: Wish) -> bool:
        """Whether CARD serves WISH now."""
        memory, cores = self.free(card)
        asked = card.memory if wish.memory is None else wish.memory
        there = not self._taken(card)[_WHOLE]  # a card of some families has no amount of anything
        return there and wish.matches(card) and asked <= memory and wish.cores <= cores

    def _taken(self, card: Card) -> Counter[str]:
        return self.used.get((card.driver, card.pool, card.name), Counter())


def wishes(claim: Object) -> Claim:
    """For each request of a claim its alternatives."""
    requests = claim["spec"]["devices"].get("requests") or []
    return tuple(
        tuple(_wish(one) for one in request.get("firstAvailable") or [request["exactly"]])
        for request in requests
    )


def fits_somewhere(requests: Sequence[Sequence[Wish]], published: Iterable[Card]) -> bool:
    """Whether some node may serve all REQUESTS of a Pod, were it empty: their sums are no more than it has.

    False is certain, True is not.
    """
    nodes: dict[str, list[Card]] = {}
    for card in published:
        nodes.setdefault(card.pool, []).append(card)
    return any(_may_fit(requests, on_node) for on_node in nodes.values())


def _may_fit(requests: Sequence[Sequence[Wish]], on_node: Sequence[Card]) -> bool:
    memory, cores, usable = 0, 0, set()
    for alternatives in requests:
        options = [
            (wish, card)
            for wish in alternatives
            for card in on_node
            if wish.matches(card) and wish.large_enough(card)
        ]
        if not options:
            return False
        memory += min(
            wish.count * (card.memory if wish.memory is None else wish.memory) for wish, card in options
        )
        cores += min(wish.count * wish.cores for wish, _ in options)
        usable |= {(card.driver, card.name, card.memory, card.cores) for _, card in options}
    return memory <= sum(card[2] for card in usable) and cores <= sum(card[3] for card in usable)


def _used(claims: Sequence[Object]) -> dict[Key, Counter[str]]:
    found: dict[Key, Counter[str]] = {}
    for claim in claims:
        for result in allocated(claim):
            if result.get("adminAccess"):
                continue
            taken = found.setdefault((result["driver"], result["pool"], result["device"]), Counter())
            consumed = result.get("consumedCapacity") or ({} if result.get("shareID") else {_WHOLE: "1"})
            for capacity, amount in consumed.items():
                taken[capacity] += quantity.parse_int(amount)
    return found


def _wish(asked: Object) -> Wish:
    amounts = (asked.get("capacity") or {}).get("requests") or {}
    expressions = [selector["cel"]["expression"] for selector in asked.get("selectors") or []]
    return Wish(
        device_class=asked["deviceClassName"],
        count=asked.get("count", 1),
        memory=quantity.parse_int(amounts["memory"]) if "memory" in amounts else None,
        cores=quantity.parse_int(amounts.get("cores", 0)),
        choices=tuple(choice for text in expressions if (choice := parse(text))),
    )
