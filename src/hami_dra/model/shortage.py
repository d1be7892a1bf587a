"""Why a Pod waits when it is for the cards: there are none, none that match, or none with room. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hami_dra.model import names, quantity
from hami_dra.model.explanation import Cause, Explanation, View, room_of, waits
from hami_dra.model.published import Card
from hami_dra.model.room import Room, Wish, fits_somewhere, wishes


def _no_slices(view: View, name: str) -> Explanation | None:
    if any(names.is_ours(item["spec"]["driver"]) for item in view.slices):
        return None
    wanted = dict(label.split("=", 1) for label in view.labels.split(",") if label).items()
    if not any(wanted <= (node["metadata"].get("labels") or {}).items() for node in view.nodes):
        sentence = f"{name} waits because no node is labelled {view.labels}."
        command = f"kubectl label node NODE {view.labels.replace(',', ' ')}"
        return waits("NoNode", sentence, command)
    sentence = f"{name} waits because no node publishes a card."
    return waits("NoCard", sentence, "hami doctor")


def _no_match(view: View, name: str) -> Explanation | None:
    """No card of the type or UUID that the claim names, were it ever so empty."""
    published = [card for card in room_of(view).cards if names.is_ours(card.driver)]
    for alternatives in view.open_requests:
        if any(wish.matches(card) for wish in alternatives for card in published):
            continue
        for choice in alternatives[0].choices:
            if not any(choice.accepts(card) for card in published):
                kind = "type" if choice.attribute == "productName" else "UUID"
                there = ", ".join(sorted({card.text(choice.attribute) for card in published}))
                wanted = (
                    " or ".join(choice.values) if choice.keep else f"other than {' or '.join(choice.values)}"
                )
                return waits(
                    "NoMatch",
                    f"{name} waits because no card is of {kind} {wanted}; there are {there or 'none'}.",
                    "kubectl get resourceslices -o yaml",
                )
    return None


def _never_together(view: View, name: str) -> Explanation | None:
    """Claims each of which a node could serve, and no node all of them."""
    requests, published = view.open_requests, room_of(view).cards
    if len(view.open_claims) < 2 or fits_somewhere(requests, published):
        return None
    if not all(fits_somewhere([alternatives], published) for alternatives in requests):
        return None
    return waits(
        "TooLarge",
        f"{name} waits because no node has as much as its claims ask for together.",
        "kubectl get resourceslices -o yaml",
    )


def _no_room(view: View, name: str) -> Explanation | None:
    """Compare what the claims ask for with the largest card, and with what is free."""
    room, published = room_of(view), room_of(view).cards
    for claim in view.open_claims:
        requests = wishes(claim)
        for alternatives in requests:
            matching = [card for card in published if any(wish.matches(card) for wish in alternatives)]
            if matching and not any(wish.large_enough(card) for wish in alternatives for card in matching):
                return _too_large(name, alternatives[0], matching)
            if matching and not any(room.has(card, wish) for wish in alternatives for card in matching):
                return _full(name, alternatives[0], matching, room)
        count = sum(alternatives[0].count for alternatives in requests)
        nodes = Counter(
            card.pool
            for card in published
            if any(one.matches(card) and one.large_enough(card) for one in requests[0])
        )
        if requests and count > max(nodes.values(), default=0):
            return waits(
                "TooLarge",
                f"{name} waits because it asks for {count} cards, and no node has more than "
                f"{max(nodes.values(), default=0)} that match.",
                "kubectl get resourceslices -o yaml",
            )
    return None


def _too_large(name: str, wish: Wish, matching: Sequence[Card]) -> Explanation:
    most_memory, most_cores = max(card.memory for card in matching), max(card.cores for card in matching)
    asked, largest = (
        (f"memory {_bytes(wish.memory)}", _bytes(most_memory))
        if (wish.memory or 0) > most_memory
        else (f"cores {wish.cores}", str(most_cores))
    )
    return waits(
        "TooLarge",
        f"{name} waits because it asks for {asked} and the largest card has {largest}.",
        "kubectl get resourceslices -o yaml",
    )


def _full(name: str, wish: Wish, matching: Sequence[Card], room: Room) -> Explanation:
    memory, cores = max(map(room.free, matching))
    asked = f"cores {wish.cores}, " if wish.cores else ""
    asked += f"memory {_bytes(wish.memory)}" if wish.memory else "a whole card"
    return waits(
        "NoRoom",
        f"{name} waits for room: it asks for {asked}, and the emptiest card has "
        f"cores {cores}, memory {_bytes(memory)} free.",
        "kubectl get resourceclaims -A",
    )


def _bytes(amount: int | None) -> str:
    return quantity.format_bytes(amount or 0)


CAUSES: tuple[Cause, ...] = (_no_slices, _no_match, _never_together, _no_room)
