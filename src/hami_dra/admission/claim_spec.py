"""GPU request -> claim specification (resource.k8s.io/v1), pure.

An amount in percent has no fixed size: it becomes a list of alternatives (`firstAvailable`, KEP-4816), one
for each memory size among the published cards, since a claim's amounts are absolute. So does a wish to have
the cards near each other: with the wish first, without it second.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from hami_dra.admission.request import GpuRequest
from hami_dra.admission.selection import GPU_POLICY, PCIE_ROOT, Selection
from hami_dra.model import names, parameters, quantity
from hami_dra.model.errors import RequestDenied
from hami_dra.model.published import Card

Object = dict[str, Any]

MOST_ALTERNATIVES = 8
"""Limit of `firstAvailable` in resource.k8s.io/v1."""

MOST_NEAR = 8
"""Cards of which a Pod can wish that they are near each other: 32 names in a constraint, 4 for each card."""


class _Alternative(NamedTuple):
    name: str
    memory: int | None
    selectors: list[str]
    near: bool


def specification(request: GpuRequest, selection: Selection) -> Object:
    """Return a ResourceClaim's `spec`.

    Several cards are as many requests, kept apart by a constraint, and not one request with a count: of one
    request the scheduler of 1.34 compares each device with its predecessor only, and panics when they run out
    (`CmpRequestOverCapacity` in the structured allocator).
    """
    name = request.family.request
    listed = [name] if request.count == 1 else [f"{name}-{at}" for at in range(request.count)]
    alternatives = _alternatives(request, selection)
    devices: Object = {"requests": [_asked(one, request, alternatives) for one in listed]}
    if constraints := _constraints(request, selection, listed, alternatives):
        devices["constraints"] = constraints
    if config := _config(request):
        devices["config"] = config
    return {"devices": devices}


def template_name(spec: Object) -> str:
    """Name of the template that all Pods of a namespace with this shape share."""
    canonical = msgspec.json.encode(spec, order="deterministic")
    return f"hami-{hashlib.sha256(canonical).hexdigest()[:12]}"


def doubts(request: GpuRequest, selection: Selection) -> Iterator[str]:
    """Warnings about the specification: what was asked for and does not fit into it."""
    if selection.near and request.count > MOST_NEAR:
        yield (
            f"{request.where}: the annotation {GPU_POLICY} has no effect: at most {MOST_NEAR} cards "
            "can be near each other"
        )
    if request.percentage is not None:
        most = MOST_ALTERNATIVES // (2 if _near(request, selection) else 1)
        if left_out := memory_sizes(request, selection)[most:]:
            sizes = " and ".join(quantity.format_bytes(size) for size in left_out)
            yield (
                f"{request.where}: a claim has {MOST_ALTERNATIVES} alternatives, "
                f"cards of {sizes} are left out"
            )
    # When no card fits at all, that is told of the annotations.
    if selection.cards and (asked := _never(request, selection.cards)):
        yield f"{request.where}: it asks for {asked}: the Pod will wait for one"


def _never(request: GpuRequest, fitting: Sequence[Card]) -> str:
    """What none of the published nodes could give of REQUEST, were all of its FITTING cards free."""
    large = [card for card in fitting if card.memory >= (request.memory or 0)]
    if not large:
        most = quantity.format_bytes(max(card.memory for card in fitting))
        return f"memory {quantity.format_bytes(request.memory or 0)} and the largest card has {most}"
    most_cards = max(Counter(card.pool for card in large).values())
    if request.count > most_cards:
        return f"{request.count} cards and no node has more than {most_cards} that match"
    return ""


def memory_sizes(request: GpuRequest, selection: Selection) -> list[int]:
    """Distinct sizes in bytes of the published cards that may serve REQUEST, smallest first.

    The smallest first: a part of a large card is left to those who need it.
    """
    sizes = sorted({card.memory for card in selection.cards if card.memory})
    if not sizes:
        raise RequestDenied(
            "a percentage of memory needs a card to measure, and no node publishes a fitting one yet",
            where=request.where,
            fix="Ask for an amount in MiB, or try again when a GPU node is ready",
        )
    return sizes


def _alternatives(request: GpuRequest, selection: Selection) -> list[_Alternative]:
    selectors = selection.selectors()
    if request.percentage is None:
        sized = [_Alternative("", request.memory, selectors, near=False)]
    else:
        sized = [
            _Alternative(
                f"size-{index}",
                _part(size, request.percentage),
                [*selectors, _has(selection.family.driver, size)],
                near=False,
            )
            for index, size in enumerate(memory_sizes(request, selection))
        ]
    if not _near(request, selection):
        return sized[:MOST_ALTERNATIVES]
    return [
        one._replace(name="-".join(filter(None, (word, one.name))), near=word == "near")
        for word in ("near", "any")
        for one in sized[: MOST_ALTERNATIVES // 2]
    ]


def _near(request: GpuRequest, selection: Selection) -> bool:
    """Whether the wish for near cards can be written: a constraint lists at most 32 alternatives."""
    return selection.near and 1 < request.count <= MOST_NEAR


def _asked(name: str, request: GpuRequest, alternatives: Sequence[_Alternative]) -> Object:
    if len(alternatives) == 1 and not alternatives[0].name:
        return {"name": name, "exactly": _device(request, alternatives[0])}
    return {
        "name": name,
        "firstAvailable": [{"name": one.name} | _device(request, one) for one in alternatives],
    }


def _device(request: GpuRequest, alternative: _Alternative) -> Object:
    family = request.family
    counted = family.counts_cores and (request.cores or family.cores_in_percent)
    amounts = {"cores": str(request.cores)} if counted else {}
    if alternative.memory is not None:
        amounts["memory"] = str(alternative.memory)
    device: Object = {
        "allocationMode": "ExactCount",
        "count": 1,
        "deviceClassName": request.family.device_class,
        "selectors": [{"cel": {"expression": expression}} for expression in alternative.selectors],
    }
    if amounts:
        device["capacity"] = {"requests": amounts}
    return device


def _constraints(
    request: GpuRequest,
    selection: Selection,
    requests: Sequence[str],
    alternatives: Sequence[_Alternative],
) -> list[Object]:
    """Without a list of requests a constraint holds for all of them."""
    if request.count == 1:
        return []
    # Shares are taken from the first card that has room: without it all of them from one (KEP-5075).
    found: list[Object] = [{"distinctAttribute": f"{request.family.driver}/uuid"}]
    if selection.same:
        found.append({"matchAttribute": selection.same})
    if near := [f"{name}/{one.name}" for name in requests for one in alternatives if one.near]:
        found.append({"requests": near, "matchAttribute": PCIE_ROOT})
    return found


def _config(request: GpuRequest) -> list[Object]:
    """Opaque parameters for the node, only where the Pod says something other than nothing."""
    asked = {"priority": request.priority, "coresPolicy": request.cores_policy}
    given = {key: value for key, value in asked.items() if value is not None}
    if not given or not request.family.parameters:
        return []
    body = {"apiVersion": parameters.API_VERSION, "kind": parameters.KIND} | given
    return [{"opaque": {"driver": request.family.driver, "parameters": body}}]


def _part(size: int, percentage: int) -> int:
    """PERCENTAGE of SIZE in bytes, rounded up to whole MiB, never more than the card."""
    wanted = -(-size * percentage // (100 * names.MIB)) * names.MIB
    return min(wanted, size)


def _has(driver: str, size: int) -> str:
    return f'device.capacity["{driver}"].memory.compareTo(quantity("{size}")) == 0'
