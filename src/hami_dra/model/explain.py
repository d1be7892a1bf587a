"""Why a Pod waits: one sentence and the next command, from the Pod, its claims and what is published.

Pure: `explain` looks at objects only. The causes are tried in the order in which a Pod meets them on its way
from admission through the scheduler to the kubelet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hami_dra.model import names, quantity

Object = dict[str, Any]
Capacity = dict[str, int]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Explanation:
    """`waiting` tells whether the Pod waits at all; `next` is the command to run next.

    `reason` is the cause in one CamelCase word: few in number, so that it can label a metric.
    """

    waiting: bool
    sentence: str
    next: str = ""
    reason: str = "Other"


@dataclass(frozen=True)
class Room:
    """What cards of all families have, and what is free of them, by (driver, pool, device)."""

    cards: dict[Key, Capacity]
    free: dict[Key, Capacity]

    @classmethod
    def of(cls, slices: list[Object], claims: list[Object]) -> Room:
        """The room of a cluster with these SLICES when all CLAIMS have taken theirs."""
        cards = _cards(slices)
        return cls(cards, _free(cards, claims))

    def of_class(self, device_class: str) -> Room:
        """The room of one family, where its class is named as its driver, else all of it."""
        cards = {key: card for key, card in self.cards.items() if key[0] == device_class}
        return Room(cards, {key: self.free[key] for key in cards}) if cards else self


@dataclass(frozen=True)
class View:
    """The objects that bear on one Pod. ROOM: that of the slices and claims, where it is known already."""

    pod: Object
    claims: list[Object]
    events: list[Object]
    slices: list[Object]
    all_claims: list[Object]
    nodes: list[Object]
    classes: list[Object]
    room: Room | None = None


def explain(view: View) -> Explanation:
    """Return the first cause that applies."""
    pod = view.pod
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    phase = pod.get("status", {}).get("phase", "Pending")
    if phase != "Pending":
        return Explanation(False, f"{name} does not wait: it is {phase}.", reason="NotWaiting")
    for cause in (_no_request, _no_class, _no_claim, _no_slices, _no_room, _prepare_failed):
        found = cause(view, name)
        if found:
            return found
    message = _last_message(view.events, "FailedScheduling") or _unschedulable(pod)
    if message:
        sentence = f"{name} waits for the scheduler: {message}"
        return Explanation(True, sentence, _describe(pod), reason="Scheduler")
    return Explanation(True, f"{name} has its share and waits for something else.", _describe(pod))


def _no_request(view: View, name: str) -> Explanation | None:
    if view.pod["spec"].get("resourceClaims"):
        return None
    sentence = f"{name} asks for no claim, so it waits for something else."
    return Explanation(True, sentence, _describe(view.pod))


def _no_class(view: View, name: str) -> Explanation | None:
    known = {item["metadata"]["name"] for item in view.classes}
    for claim in view.claims:
        for asked in _exact_requests(claim):
            if asked["deviceClassName"] not in known:
                return Explanation(
                    True,
                    f"{name} waits because DeviceClass {asked['deviceClassName']} does not exist.",
                    "kubectl get deviceclass",
                    reason="NoDeviceClass",
                )
    return None


def _no_claim(view: View, name: str) -> Explanation | None:
    wanted = [entry["name"] for entry in view.pod["spec"]["resourceClaims"]]
    if len(view.claims) >= len(wanted):
        return None
    refused = _last_message(view.events, "ClaimRefused", "FailedResourceClaimCreation")
    reason = f": {refused}" if refused else " yet"
    return Explanation(
        True,
        f"{name} waits because its claim has not been made{reason}.",
        "kubectl -n hami-system logs -l app.kubernetes.io/component=webhook",
        reason="NoClaim",
    )


def _no_slices(view: View, name: str) -> Explanation | None:
    if any(names.is_ours(item["spec"]["driver"]) for item in view.slices):
        return None
    labelled = any(node["metadata"].get("labels", {}).get("gpu") == "on" for node in view.nodes)
    if not labelled:
        sentence = f"{name} waits because no node is labelled gpu=on."
        return Explanation(True, sentence, "kubectl label node NODE gpu=on", reason="NoNode")
    sentence = f"{name} waits because no node publishes a card."
    return Explanation(True, sentence, "hami doctor", reason="NoCard")


def _no_room(view: View, name: str) -> Explanation | None:
    """Compare what the claims ask for with the largest card, and with what is free."""
    all_room = view.room or Room.of(view.slices, view.all_claims)
    for claim in view.claims:
        if claim.get("status", {}).get("allocation"):
            continue
        for asked in _exact_requests(claim):
            room = all_room.of_class(asked.get("deviceClassName", ""))
            requests = asked.get("capacity", {}).get("requests", {})
            wanted = {key: quantity.parse_int(amount) for key, amount in requests.items()}
            for key, need in wanted.items():
                most = max((card.get(key, 0) for card in room.cards.values()), default=0)
                if need > most:
                    return Explanation(
                        True,
                        f"{name} waits because it asks for {key} {requests[key]} and the largest card "
                        f"has {_show(key, most)}.",
                        "kubectl get resourceslices -o yaml",
                        reason="TooLarge",
                    )
            if not any(_fits(wanted, left) for left in room.free.values()):
                best = max(room.free.values(), key=lambda left: left.get("memory", 0), default={})
                return Explanation(
                    True,
                    f"{name} waits for room: it asks for {_show_all(requests)}, and the emptiest card has "
                    f"{_show_all(best)} free.",
                    "kubectl get resourceclaims -A",
                    reason="NoRoom",
                )
    return None


def _prepare_failed(view: View, name: str) -> Explanation | None:
    message = _last_message(view.events, "FailedPrepareDynamicResources")
    if message is None:
        return None
    node = view.pod["spec"].get("nodeName", "NODE")
    return Explanation(
        True,
        f"{name} is on {node}, where its share could not be prepared: {message}",
        "kubectl -n hami-system logs -l app.kubernetes.io/component=driver",
        reason="PrepareFailed",
    )


def _exact_requests(claim: Object) -> Iterable[Object]:
    for request in claim["spec"]["devices"].get("requests") or []:
        if "exactly" in request:
            yield request["exactly"]


def _cards(slices: list[Object]) -> dict[Key, Capacity]:
    cards = {}
    for item in slices:
        spec = item["spec"]
        if not names.is_ours(spec["driver"]):
            continue
        for device in spec.get("devices") or []:
            capacity = device.get("capacity") or {}
            cards[spec["driver"], spec["pool"]["name"], device["name"]] = {
                key: quantity.parse_int(entry["value"]) for key, entry in capacity.items()
            }
    return cards


def _free(cards: dict[Key, Capacity], claims: list[Object]) -> dict[Key, Capacity]:
    free = {card: dict(capacity) for card, capacity in cards.items()}
    for claim in claims:
        allocation = claim.get("status", {}).get("allocation") or {}
        for result in allocation.get("devices", {}).get("results") or []:
            room = free.get((result["driver"], result["pool"], result["device"]))
            if room is None:
                continue
            for key, amount in (result.get("consumedCapacity") or {}).items():
                room[key] = room.get(key, 0) - quantity.parse_int(amount)
    return free


def _fits(wanted: Capacity, room: Capacity) -> bool:
    return all(amount <= room.get(key, 0) for key, amount in wanted.items())


def _show(key: str, amount: int) -> str:
    return quantity.format_bytes(amount) if key == "memory" else str(amount)


def _show_all(amounts: dict[str, Any]) -> str:
    parts = (f"{key} {_show(key, quantity.parse_int(value))}" for key, value in sorted(amounts.items()))
    return ", ".join(parts) or "a whole card"


def _last_message(events: list[Object], *reasons: str) -> str | None:
    messages = [event["message"] for event in events if event.get("reason") in reasons]
    return messages[-1] if messages else None


def _unschedulable(pod: Object) -> str | None:
    """The scheduler's own words, which outlive its Events."""
    conditions = pod.get("status", {}).get("conditions") or []
    said = (each.get("message") for each in conditions if each.get("reason") == "Unschedulable")
    return next(said, None)


def _describe(pod: Object) -> str:
    return f"kubectl -n {pod['metadata']['namespace']} describe pod {pod['metadata']['name']}"
