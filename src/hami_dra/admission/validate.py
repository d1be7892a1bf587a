"""Native claims and templates, and Pods that use them: what is seen to be wrong before it is stored. Pure.

A claim with a typing error is valid for Kubernetes and waits for ever; a driver's parameters it does not read
at all. Denied is what can never work; what may work later, or works otherwise than it looks, gets a warning.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hami_dra.admission.amounts import MOST_MEMORY
from hami_dra.admission.families import Family
from hami_dra.admission.patch import Find
from hami_dra.model import names, parameters, quantity
from hami_dra.model.device import CORES, MEMORY
from hami_dra.model.errors import UserError
from hami_dra.model.published import Card

Object = dict[str, Any]
_OTHER_WORDS = {"mem": "memory", "gpumem": "memory", "vram": "memory", "gpu": "cores", "compute": "cores"}

FIRST_TO_COUNT = 35
"""Minor version of Kubernetes. For the second device of a request the allocator of 1.34 looks at the second
of a slice. Each has a slice of its own there (`node.slices`), and kube-scheduler ends by a panic."""
FULL_CARD = 100
"""Cores of a card, in percent."""


def _nowhere(namespace: str, name: str) -> None:
    """Find nothing."""


@dataclass(frozen=True)
class Stored:
    """Finds a claim or a template by namespace and name, as it is at this moment."""

    claim: Find = _nowhere
    template: Find = _nowhere


@dataclass
class Verdict:
    """What is wrong, and what only looks so."""

    problems: list[UserError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def claim(
    spec: Object, where: str, families: Sequence[Family], cards: Sequence[Card], kubernetes: int = 0
) -> Verdict:
    """Look at a claim's specification; WHERE is its path (`spec`, in a template `spec.spec`). KUBERNETES: the
    cluster's minor version, 0 when it is not known."""
    devices = spec.get("devices") or {}
    verdict = Verdict([*parameters.claim_problems(spec, where), *_unread(devices, where, families)])
    for path, asked, request in _asked(devices, where):
        family = _family(asked, families)
        if family is None:
            continue
        verdict.problems += _unserved(path, asked, kubernetes)
        amounts = (asked.get("capacity") or {}).get("requests") or {}
        for key, text in amounts.items():
            problem = _amount(f"{path}.capacity.requests[{key}]", key, text, family)
            if problem:
                verdict.problems.append(problem)
        if not verdict.problems:
            verdict.warnings += _doubts(path, asked, request, devices, family, cards)
    return verdict


def pod(pod: Object, namespace: str, families: Sequence[Family], stored: Stored) -> Verdict:
    """Look at a Pod that is put on a node by hand and names claims: an unallocated one stays so."""
    for entry in pod["spec"].get("resourceClaims") or []:
        if name := entry.get("resourceClaimName"):
            found = stored.claim(namespace, name)
            waits = found is not None and not (found.get("status") or {}).get("allocation")
            spec = (found or {}).get("spec") or {}
        else:
            found = stored.template(namespace, entry.get("resourceClaimTemplateName") or "")
            waits = found is not None
            spec = ((found or {}).get("spec") or {}).get("spec") or {}
        if waits and any(_family(asked, families) for _, asked, _ in _asked(spec.get("devices") or {}, "")):
            return Verdict(
                [
                    UserError(
                        f"the Pod never passes the scheduler, which allocates its claim {entry['name']}",
                        where="spec.nodeName",
                        fix="Use spec.nodeSelector with kubernetes.io/hostname instead",
                    )
                ]
            )
    return Verdict()


def _asked(devices: Object, where: str) -> Iterator[tuple[str, Object, str]]:
    """(path, what is asked for, name of the request) of every request and alternative."""
    for at, request in enumerate(devices.get("requests") or []):
        path, name = f"{where}.devices.requests[{at}]", request.get("name", "")
        if request.get("exactly"):
            yield f"{path}.exactly", request["exactly"], name
        for number, alternative in enumerate(request.get("firstAvailable") or []):
            yield f"{path}.firstAvailable[{number}]", alternative, name


def _family(asked: Object, families: Sequence[Family]) -> Family | None:
    return next((one for one in families if one.device_class == asked.get("deviceClassName")), None)


def _unread(devices: Object, where: str, families: Sequence[Family]) -> Iterator[UserError]:
    """Opaque parameters for drivers of ours that take none: the node would refuse to prepare the claim."""
    without = {family.driver for family in families if not family.parameters}
    for at, entry in enumerate(devices.get("config") or []):
        driver = (entry.get("opaque") or {}).get("driver")
        if driver in without:
            path = f"{where}.devices.config[{at}].opaque"
            yield UserError(f"{driver} takes no parameters", where=path, fix="Leave this entry out")


def _unserved(path: str, asked: Object, kubernetes: int) -> Iterator[UserError]:
    """What Kubernetes can be asked for, and we or this release of it cannot give."""
    if asked.get("adminAccess"):
        what = "no node of ours prepares a claim with it"
        yield UserError(what, where=f"{path}.adminAccess", fix="Leave it out")
    if 0 < kubernetes < FIRST_TO_COUNT:
        what = f"on several devices in one request kube-scheduler of Kubernetes 1.{kubernetes} crashes"
        for key in ("count", "allocationMode"):
            if asked.get(key) not in (None, 1, "ExactCount"):
                yield UserError(what, where=f"{path}.{key}", fix="Write a request for each device")


def _capacity(where: str, key: str, family: Family) -> UserError | None:
    """What is wrong with the name of a capacity."""
    if key in family.capacities:
        return None
    if not family.capacities:
        what = f"a device of {family.device_class} is given whole, it has no capacities"
        return UserError(what, where=where, fix="Leave it out")
    last = key.rpartition("/")[2].lower()
    close = difflib.get_close_matches(last, family.capacities, n=1)
    likely = _OTHER_WORDS.get(last) or (close[0] if close else "")
    right = likely if likely in family.capacities else " or ".join(family.capacities)
    return UserError("no card has such a capacity", where=where, fix=f"Write {right}")


def _amount(where: str, key: str, text: object, family: Family) -> UserError | None:
    if unknown := _capacity(where, key, family):
        return unknown
    try:
        value = quantity.parse(str(text))
    except ValueError as problem:
        return UserError(str(problem), where=where, fix="Write a quantity")
    if key == CORES and family.cores_in_percent:
        if value.denominator != 1 or not 0 <= value <= FULL_CARD:
            return UserError(f"{text} is no percentage of a card", where=where, fix="Write 0 to 100")
    elif key != MEMORY:
        if value.denominator != 1 or value < 0:
            return UserError(f"{text} is no number of {key}", where=where, fix="Write a whole number")
    elif value < names.MIB:
        likely = f"{text}Gi" if str(text).isdigit() and int(str(text)) else "1Mi or more"
        return UserError(
            f"{text} is less than 1 MiB: a number alone counts bytes", where=where, fix=f"Write {likely}"
        )
    elif value > MOST_MEMORY:
        return UserError(f"no card has {text}", where=where, fix="Write the memory of one card, or less")
    return None


def _doubts(
    path: str, asked: Object, request: str, devices: Object, family: Family, cards: Sequence[Card]
) -> Iterator[str]:
    amounts = (asked.get("capacity") or {}).get("requests") or {}
    kind = (family.driver, family.device_type)
    sizes = [card.memory for card in cards if (card.driver, card.text("type")) == kind]
    if sizes and quantity.parse_int(amounts.get(MEMORY, 0)) > max(sizes):
        largest = quantity.format_bytes(max(sizes))
        yield f"{path}: memory {amounts['memory']} is more than the largest card's {largest}: it will wait"
    distinct = [
        one
        for one in devices.get("constraints") or []
        if one.get("distinctAttribute") and (not one.get("requests") or request in one["requests"])
    ]
    if asked.get("count", 1) > 1 and not distinct:
        attribute = f"{family.driver}/uuid"
        yield (
            f"{path}: {asked['count']} shares may come from one card; for as many cards add a constraint "
            f"distinctAttribute: {attribute}"
        )
