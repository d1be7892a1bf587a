"""Why a Pod waits: one sentence and the next command, from the Pod, its claims and what is published.

Pure: `explain` looks at objects only. The causes are tried in the order in which a Pod meets them on its way
from admission through the scheduler to the kubelet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hami_dra.model import names, quantity
from hami_dra.model.published import Card
from hami_dra.model.room import Room, Wish, fits_somewhere, wishes

Object = dict[str, Any]


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
class View:
    """The objects that bear on one Pod. ROOM: that of the slices and claims, where it is known already.

    RESOURCES: the extended resources that admission makes claims of, those of all families. LABELS: of the
    nodes that the plugin is to run on, as a label selector. CLOSED: what is published may not be read.
    """

    pod: Object
    claims: list[Object]
    events: list[Object]
    slices: list[Object]
    all_claims: list[Object]
    nodes: list[Object]
    classes: list[Object]
    room: Room | None = None
    resources: Collection[str] = names.NVIDIA_RESOURCES
    labels: str = names.NODE_LABELS
    closed: bool = False


def explain(view: View) -> Explanation:
    """Return the first cause that applies."""
    pod = view.pod
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    phase = pod.get("status", {}).get("phase", "Pending")
    ends = pod["metadata"].get("deletionTimestamp")
    if ends or phase != "Pending":
        state = "being deleted" if ends else phase
        return Explanation(False, f"{name} does not wait: it is {state}.", reason="NotWaiting")
    view = view if view.room else replace(view, room=Room.of(view.slices, view.all_claims))
    for cause in OF_THE_POD if view.closed else CAUSES:
        found = cause(view, name)
        if found:
            return found
    message = _last_message(view.events, "FailedScheduling") or _unschedulable(pod)
    if message:
        sentence = f"{name} waits for the scheduler: {message}"
        return _waits("Scheduler", sentence, _describe(pod))
    if _open_claims(view):
        scheduler = pod["spec"].get("schedulerName") or "default-scheduler"
        sentence = f"{name} waits for {scheduler}, which has not said yet why it is not placed."
        return _waits("Scheduler", sentence, _describe(pod))
    return Explanation(True, f"{name} has its share and waits for something else.", _describe(pod))


def named(pod: Object) -> set[str]:
    """Every resource of which a container or init container of POD wants some, in limits or requests."""
    listed = [
        container.get("resources") or {}
        for group in ("initContainers", "containers")
        for container in pod["spec"].get(group) or []
    ]
    return {
        name
        for each in listed
        for group in ("limits", "requests")
        for name, amount in (each.get(group) or {}).items()
        if str(amount) != "0"
    }


def unconverted(pod: Object, resources: Collection[str]) -> list[str]:
    """Those of RESOURCES that POD still names: no webhook has made a claim of them."""
    return sorted(named(pod) & set(resources))


def _no_request(view: View, name: str) -> Explanation | None:
    """Nothing was made of what the Pod asks for; or Kubernetes serves it, by a DeviceClass (KEP-5004)."""
    classes = {
        item["spec"]["extendedResourceName"]: item["metadata"]["name"]
        for item in view.classes
        if item.get("spec", {}).get("extendedResourceName")
    }
    asked = unconverted(view.pod, view.resources)
    left = [resource for resource in asked if resource not in classes]
    if asked and not left:
        said = _last_message(view.events, "FailedScheduling") or _unschedulable(view.pod) or "not seen yet"
        return _waits(
            "Scheduler",
            f"{name} waits for {asked[0]}, which Kubernetes takes from DeviceClass "
            f"{classes[asked[0]]}: {said}",
            _describe(view.pod),
        )
    if left:
        namespace, pod = name.split("/")
        return _waits(
            "NotConverted",
            f"{name} waits because {left[0]} was not made a claim: no webhook saw it when it was created.",
            f"hami doctor, then kubectl -n {namespace} get pod {pod} -o yaml | kubectl replace --force -f -",
        )
    if view.pod["spec"].get("resourceClaims"):
        return None
    sentence = f"{name} asks for no claim, so it waits for something else."
    return Explanation(True, sentence, _describe(view.pod))


def _held_back(view: View, name: str) -> Explanation | None:
    """No scheduler looks at a Pod with gates: a queue (Kueue) takes its own off when it is the Pod's turn."""
    gates = ", ".join(gate["name"] for gate in view.pod["spec"].get("schedulingGates") or [])
    if not gates:
        return None
    sentence = f"{name} is held back by {gates}: whoever has set this scheduling gate has to take it off."
    return _waits("Gated", sentence, _describe(view.pod))


def _gate_off(view: View, name: str) -> Explanation | None:
    """The API server drops what it does not know, the scheduler says so."""
    ours = [card for card in _room(view).cards if card.driver == names.DRIVER]
    dropped = bool(ours) and not any(card.shared for card in ours)
    said = names.GATE in (_last_message(view.events, "FailedScheduling") or _unschedulable(view.pod) or "")
    if not (dropped or said):
        return None
    where = "the API server" if dropped else "the scheduler"
    return _waits(
        "FeatureGate",
        f"{name} waits because the feature gate {names.GATE} is off in {where}.",
        "ansible-playbook playbooks/site.yml --tags control_plane,kubelet",
    )


def _no_class(view: View, name: str) -> Explanation | None:
    known = {item["metadata"]["name"] for item in view.classes}
    for wish in _open_wishes(view):
        if wish.device_class not in known:
            return _waits(
                "NoDeviceClass",
                f"{name} waits because DeviceClass {wish.device_class} does not exist.",
                "kubectl get deviceclass",
            )
    return None


def _no_claim(view: View, name: str) -> Explanation | None:
    """Of a converted Pod the claims are ours to make, of others their user's."""
    if len(view.claims) >= len(view.pod["spec"]["resourceClaims"]):
        return None
    refused = _last_message(view.events, "ClaimRefused", "FailedResourceClaimCreation") or ""
    if "exceeded quota" in refused:
        return _waits(
            "Quota",
            f"{name} waits because its claim is beyond the namespace's quota: {refused}.",
            f"kubectl -n {name.split('/')[0]} describe resourcequota",
        )
    if not refused and names.CONVERTED_LABEL not in (view.pod["metadata"].get("labels") or {}):
        return _waits(
            "NoClaim",
            f"{name} waits because a claim or template that it names does not exist.",
            f"kubectl -n {name.split('/')[0]} get resourceclaims,resourceclaimtemplates",
        )
    reason = f": {refused}" if refused else " yet"
    return _waits(
        "NoClaim",
        f"{name} waits because its claim has not been made{reason}.",
        "kubectl -n hami-system logs -l app.kubernetes.io/component=webhook",
    )


def _no_slices(view: View, name: str) -> Explanation | None:
    if any(names.is_ours(item["spec"]["driver"]) for item in view.slices):
        return None
    wanted = dict(label.split("=", 1) for label in view.labels.split(",") if label).items()
    if not any(wanted <= (node["metadata"].get("labels") or {}).items() for node in view.nodes):
        sentence = f"{name} waits because no node is labelled {view.labels}."
        command = f"kubectl label node NODE {view.labels.replace(',', ' ')}"
        return _waits("NoNode", sentence, command)
    sentence = f"{name} waits because no node publishes a card."
    return _waits("NoCard", sentence, "hami doctor")


def _no_match(view: View, name: str) -> Explanation | None:
    """No card of the type or UUID that the claim names, were it ever so empty."""
    published = [card for card in _room(view).cards if names.is_ours(card.driver)]
    for alternatives in _open_requests(view):
        if any(wish.matches(card) for wish in alternatives for card in published):
            continue
        for choice in alternatives[0].choices:
            if not any(choice.accepts(card) for card in published):
                kind = "type" if choice.attribute == "productName" else "UUID"
                there = ", ".join(sorted({card.text(choice.attribute) for card in published}))
                wanted = (
                    " or ".join(choice.values) if choice.keep else f"other than {' or '.join(choice.values)}"
                )
                return _waits(
                    "NoMatch",
                    f"{name} waits because no card is of {kind} {wanted}; there are {there or 'none'}.",
                    "kubectl get resourceslices -o yaml",
                )
    return None


def _never_together(view: View, name: str) -> Explanation | None:
    """Claims each of which a node could serve, and no node all of them."""
    requests, published = _open_requests(view), _room(view).cards
    if len(_open_claims(view)) < 2 or fits_somewhere(requests, published):
        return None
    if not all(fits_somewhere([alternatives], published) for alternatives in requests):
        return None
    return _waits(
        "TooLarge",
        f"{name} waits because no node has as much as its claims ask for together.",
        "kubectl get resourceslices -o yaml",
    )


def _no_room(view: View, name: str) -> Explanation | None:
    """Compare what the claims ask for with the largest card, and with what is free."""
    room, published = _room(view), _room(view).cards
    for claim in _open_claims(view):
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
            return _waits(
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
    return _waits(
        "TooLarge",
        f"{name} waits because it asks for {asked} and the largest card has {largest}.",
        "kubectl get resourceslices -o yaml",
    )


def _full(name: str, wish: Wish, matching: Sequence[Card], room: Room) -> Explanation:
    memory, cores = max(map(room.free, matching))
    asked = f"cores {wish.cores}, " if wish.cores else ""
    asked += f"memory {_bytes(wish.memory)}" if wish.memory else "a whole card"
    return _waits(
        "NoRoom",
        f"{name} waits for room: it asks for {asked}, and the emptiest card has "
        f"cores {cores}, memory {_bytes(memory)} free.",
        "kubectl get resourceclaims -A",
    )


def _prepare_failed(view: View, name: str) -> Explanation | None:
    message = _last_message(view.events, "FailedPrepareDynamicResources")
    if message is None:
        return None
    node = view.pod["spec"].get("nodeName", "NODE")
    return _waits(
        "PrepareFailed",
        f"{name} is on {node}, where its share could not be prepared: {message}",
        "kubectl -n hami-system logs -l app.kubernetes.io/component=driver",
    )


def _open_claims(view: View) -> list[Object]:
    return [claim for claim in view.claims if not (claim.get("status") or {}).get("allocation")]


def _open_requests(view: View) -> list[list[Wish]]:
    return [alternatives for claim in _open_claims(view) for alternatives in wishes(claim)]


def _open_wishes(view: View) -> list[Wish]:
    return [wish for alternatives in _open_requests(view) for wish in alternatives]


def _room(view: View) -> Room:
    assert view.room is not None  # noqa: S101 - explain found it
    return view.room


def _bytes(amount: int | None) -> str:
    return quantity.format_bytes(amount or 0)


def _last_message(events: list[Object], *reasons: str) -> str | None:
    messages = [event["message"] for event in events if event.get("reason") in reasons]
    return messages[-1] if messages else None


def _unschedulable(pod: Object) -> str | None:
    """The scheduler's own words, which outlive its Events."""
    conditions = pod.get("status", {}).get("conditions") or []
    reasons = ("Unschedulable", "SchedulerError")
    return next((each.get("message") for each in conditions if each.get("reason") in reasons), None)


def _waits(reason: str, sentence: str, command: str) -> Explanation:
    return Explanation(True, sentence, command, reason)


def _describe(pod: Object) -> str:
    return f"kubectl -n {pod['metadata']['namespace']} describe pod {pod['metadata']['name']}"


Cause = Callable[[View, str], Explanation | None]

CAUSES: tuple[Cause, ...] = (
    _no_request,
    _held_back,
    _no_class,
    _gate_off,
    _no_claim,
    _no_slices,
    _no_match,
    _never_together,
    _no_room,
    _prepare_failed,
)
OF_THE_POD: tuple[Cause, ...] = (_no_request, _held_back, _no_claim, _prepare_failed)
"""Those for which its namespace is enough; for the others the scheduler speaks."""
