"""Annotations of a Pod that choose cards -> CEL selectors and constraints of its claims. Pure.

As in HAMi: a type matches as part of the product name, whatever its case; several values are separated by
commas; `use-*` keeps the named cards, `nouse-*` excludes them. What DRA cannot express becomes a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hami_dra.admission.families import Family
from hami_dra.model.choice import Choice, attributes
from hami_dra.model.errors import RequestDenied
from hami_dra.model.published import Card

Object = dict[str, Any]

LONGEST_EXPRESSION = 10 * 1024
"""Bytes; limit of one CEL selector in resource.k8s.io/v1."""

GPU_POLICY = "hami.io/gpu-scheduler-policy"
NODE_POLICY = "hami.io/node-scheduler-policy"
INSTEAD = {
    GPU_POLICY: "only topology-aware has; the order of a node's cards is the same for all Pods, set by the "
    "chart's drivers.cardPolicy",
    NODE_POLICY: "nodes are chosen by kube-scheduler's own scores",
}
"""Why other policies of one Pod come to nothing, by annotation."""
NEAR = "topology-aware"
TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")
"""How HAMi writes yes and no: as Go's strconv.ParseBool reads them."""

PCIE_ROOT = "resource.kubernetes.io/pcieRoot"


@dataclass(frozen=True)
class Selection:
    """What the annotations of a Pod say for one family.

    `cards`: the published ones that it lets through. `same`: attribute that all cards of a container must
    share; `near`: they should share a PCIe root.
    """

    family: Family
    choices: tuple[Choice, ...] = ()
    cards: Sequence[Card] = ()
    same: str = ""
    near: bool = False
    warnings: tuple[str, ...] = ()

    def selectors(self) -> list[str]:
        """CEL expressions, the one for our kind of device first."""
        family = self.family
        ours = f'{attributes(family.driver)}.type == "{family.device_type}"'
        return [ours, *(choice.expression(family.driver) for choice in (*_own(family), *self.choices))]


def selection(pod: Object, family: Family, cards: Sequence[Card]) -> Selection:
    """Read the annotations. CARDS: what is published. Raises RequestDenied for one without a value."""
    given = pod.get("metadata", {}).get("annotations") or {}
    choices = tuple(_choices(given, family))
    same, doubts = _numa(given, family, cards)
    warnings = [*doubts, *_without_effect(given, family)]
    ours = _accepted(_of_family(family, cards), _own(family))
    fitting = _accepted(ours, choices)
    if ours and not fitting:
        which = " and ".join(_which(given, family))
        warnings.append(f"no published card meets {which}: the Pod will wait for one")
    return Selection(family, choices, fitting, same, NEAR in _policies(given, GPU_POLICY), tuple(warnings))


def _own(family: Family) -> tuple[Choice, ...]:
    """The family's own product, which no annotation takes off."""
    products = ((family.product, True), (family.not_product, False))
    return tuple(Choice("productName", (product,), keep) for product, keep in products if product)


def _of_family(family: Family, cards: Sequence[Card]) -> list[Card]:
    return [
        card for card in cards if card.driver == family.driver and card.text("type") == family.device_type
    ]


def _accepted(cards: list[Card], choices: Sequence[Choice]) -> list[Card]:
    """Those of CARDS that all CHOICES accept. There may be thousands."""
    if not choices:
        return cards
    return [card for card in cards if all(choice.accepts(card) for choice in choices)]


def _choices(given: Object, family: Family) -> Iterator[Choice]:
    annotations = family.annotations
    for annotation, attribute, keep in (
        (annotations.use_type, "productName", True),
        (annotations.nouse_type, "productName", False),
        (annotations.use_uuid, "uuid", True),
        (annotations.nouse_uuid, "uuid", False),
    ):
        if annotation and annotation in given:
            choice = Choice(attribute, _values(given[annotation], annotation), keep)
            if len(choice.expression(family.driver).encode()) > LONGEST_EXPRESSION:
                raise RequestDenied(
                    "more values than one selector can hold (10 KiB)",
                    where=f"metadata.annotations[{annotation}]",
                    fix="Name fewer",
                )
            yield choice


def _values(text: str, annotation: str) -> tuple[str, ...]:
    # Of a value given twice the first counts, so that the order of the rest is the user's.
    values = tuple(dict.fromkeys(value.strip() for value in text.split(",") if value.strip()))
    if not values:
        raise RequestDenied(
            "no value is given",
            where=f"metadata.annotations[{annotation}]",
            fix="Name at least one, separated by commas, or remove the annotation",
        )
    return values


def _numa(given: Object, family: Family, cards: Sequence[Card]) -> tuple[str, tuple[str, ...]]:
    """The attribute that says the NUMA node, when the Pod binds to one, or a warning that there is none."""
    annotation = family.annotations.numa_bind
    wish = given.get(annotation, FALSE[0])
    if wish in FALSE:
        return "", ()
    if wish not in TRUE:
        return "", (f'{annotation}: {wish} has no effect: write "true"',)
    for attribute in ("numaNode", "resource.kubernetes.io/numaNode"):
        if any(attribute in card.attributes for card in cards if card.driver == family.driver):
            return attribute if "/" in attribute else f"{family.driver}/{attribute}", ()
    return "", (f"{annotation} has no effect: no published card says its NUMA node",)


def _without_effect(given: Object, family: Family) -> Iterator[str]:
    for annotation, instead in INSTEAD.items():
        for policy in _policies(given, annotation):
            if (annotation, policy) != (GPU_POLICY, NEAR):
                yield f"{annotation}: {policy} has no effect: {instead}"
    for name in family.resources.all:
        if name in given:
            yield f"the annotation {name} has no effect: write it among the limits of a container"
    mode = family.annotations.mode
    if mode in given and given[mode] != "hami-core":
        yield f"{mode}: {given[mode]} has no effect: the share is one of memory and cores"


def _policies(given: Object, annotation: str) -> list[str]:
    """HAMi reads a list, separated by commas, the first the most important."""
    return [policy.strip() for policy in given.get(annotation, "").split(",") if policy.strip()]


def _which(given: Object, family: Family) -> list[str]:
    chosen = family.annotations
    choosing = (chosen.use_type, chosen.nouse_type, chosen.use_uuid, chosen.nouse_uuid)
    return [f"{name}={given[name]}" for name in choosing if name in given]
