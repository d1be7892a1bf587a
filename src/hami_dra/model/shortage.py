"""Why a Pod waits when it is for the cards: there are none, none that match, or none with room. Pure.

What was worked out for a room is kept there: thousands of Pods that wait ask for the same few things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hami_dra.model import names, quantity
from hami_dra.model.explanation import Cause, Explanation, View, room_of, waits
from hami_dra.model.published import Card
from hami_dra.model.room import Claim, Room, Shortage, Wish, fits_somewhere, wishes

SLICES = "kubectl get resourceslices -o yaml"


def _no_slices(view: View, name: str) -> Explanation | None:
    if any(names.is_ours(item["spec"]["driver"]) for item in view.slices):
        return None
    wanted = dict(label.split("=", 1) for label in view.labels.split(",") if label).items()
    if wanted and not any(wanted <= (node["metadata"].get("labels") or {}).items() for node in view.nodes):
        sentence = f"{name} waits because no node is labelled {view.labels}."
        command = f"kubectl label node NODE {view.labels.replace(',', ' ')}"
        return waits("NoNode", sentence, command)
    sentence = f"{name} waits because no node publishes a card."
    return waits("NoCard", sentence, "hami doctor")


def _no_card(view: View, name: str) -> Explanation | None:
    found = find([wishes(claim) for claim in view.open_claims], room_of(view))
    return found and waits(found.reason, f"{name} waits {found.words}.", found.command)


def find(claims: Sequence[Claim], room: Room) -> Shortage | None:
    """Return why the cards of ROOM do not serve CLAIMS, all of one Pod and none allocated yet."""
    key = tuple(claims)
    if key not in room.known:
        room.known[key] = _no_match(key, room) or _never_together(key, room) or _no_room(key, room)
    return room.known[key]


def _no_match(claims: Sequence[Claim], room: Room) -> Shortage | None:
    """No card of the class, type or UUID that the claim names, were it ever so empty."""
    for request in (request for claim in claims for request in claim):
        of_class = [card for card in room.cards if any(wish.of_class(card) for wish in request)]
        if not of_class:
            words = f"because no node publishes a device of {request[0].device_class}"
            return Shortage("NoMatch", words, SLICES)
        if any(wish.matches(card) for wish in request for card in of_class):
            continue
        for choice in request[0].choices:
            if not any(choice.accepts(card) for card in of_class):
                kind = "type" if choice.attribute == "productName" else "UUID"
                there = ", ".join(sorted({card.text(choice.attribute) for card in of_class}))
                wanted = (
                    " or ".join(choice.values) if choice.keep else f"other than {' or '.join(choice.values)}"
                )
                words = f"because no card is of {kind} {wanted}; there are {there}"
                return Shortage("NoMatch", words, SLICES)
        return Shortage("NoMatch", "because no card meets all that it asks for together", SLICES)
    return None


def _never_together(claims: Sequence[Claim], room: Room) -> Shortage | None:
    """Claims each of which a node could serve, and no node all of them."""
    requests = [request for claim in claims for request in claim]
    if len(claims) < 2 or fits_somewhere(requests, room.cards):
        return None
    if not all(fits_somewhere([request], room.cards) for request in requests):
        return None
    return Shortage("TooLarge", "because no node has as much as its claims ask for together", SLICES)


def _no_room(claims: Sequence[Claim], room: Room) -> Shortage | None:
    """Compare what the claims ask for with the largest card, and with what is free."""
    for requests in filter(None, claims):
        for request in requests:
            pairs = [(wish, card) for wish in request for card in room.cards if wish.matches(card)]
            if not any(wish.large_enough(card) for wish, card in pairs):
                return _too_large(pairs)
            if not any(room.has(card, wish) for wish, card in pairs):
                return _full(pairs, room)
        count = sum(request[0].count for request in requests)
        nodes = Counter(
            card.pool
            for card in room.cards
            if any(one.matches(card) and one.large_enough(card) for one in requests[0])
        )
        if count > (most := max(nodes.values(), default=0)):
            words = f"because it asks for {count} cards, and no node has more than {most} that match"
            return Shortage("TooLarge", words, SLICES)
    return None


def _too_large(pairs: Sequence[tuple[Wish, Card]]) -> Shortage:
    wish, card = max(pairs, key=lambda pair: (pair[1].memory, pair[1].cores))
    asked, largest = (
        (f"memory {_bytes(wish.memory)}", _bytes(card.memory))
        if (wish.memory or 0) > card.memory
        else (f"cores {wish.cores}", str(card.cores))
    )
    return Shortage("TooLarge", f"because it asks for {asked} and the largest card has {largest}", SLICES)


def _full(pairs: Sequence[tuple[Wish, Card]], room: Room) -> Shortage:
    wish, card = max(pairs, key=lambda pair: room.free(pair[1]))
    memory, cores = room.free(card)
    asked, left = [], []
    if wish.cores > cores:
        asked.append(f"cores {wish.cores}")
        left.append(f"cores {cores}")
    if wish.memory is None or wish.memory > memory:
        asked.append("a whole card" if wish.memory is None else f"memory {_bytes(wish.memory)}")
        left.append(f"memory {_bytes(memory)}")
    there = f"the emptiest card has {', '.join(left)} free" if memory or cores else "none is free"
    words = f"for room: it asks for {', '.join(asked)}, and {there}"
    return Shortage("NoRoom", words, "kubectl get resourceclaims -A")


def _bytes(amount: int | None) -> str:
    return quantity.format_bytes(amount or 0)


CAUSES: tuple[Cause, ...] = (_no_slices, _no_card)
