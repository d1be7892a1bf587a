"""Amounts that a container names, as whole numbers in range. Pure.

Everything that is wrong is refused with the container, the resource and what to write instead.
"""

from __future__ import annotations

from typing import Any

from hami_dra.admission.families import Family
from hami_dra.model import names, quantity
from hami_dra.model.errors import RequestDenied

Object = dict[str, Any]

MOST_CARDS = 32
"""Limit of allocation results in one claim of resource.k8s.io/v1."""

MOST_MEMORY = 16 * 1024**4
"""Bytes. No card has that much: such an amount was written in another unit."""


def amounts(container: Object, where: str, family: Family) -> dict[str, int]:
    """Return what CONTAINER asks for by resource name; empty when it asks for nothing of FAMILY.

    Raises RequestDenied for amounts that no card can satisfy and for contradictions.
    """
    named = _named(container, where, family)
    resources = family.resources
    if named.get(resources.gpu) == 0:
        asks = [name for name, value in named.items() if value and name != resources.priority]
        if not asks:
            # `nvidia.com/gpu: 0` is how charts say "no GPU"; Kubernetes reads it the same way.
            return {}
        raise RequestDenied(
            f"{resources.gpu} is 0, and {' and '.join(asks)} ask for a part of a card",
            where=where,
            fix=f"Write {resources.gpu} 1, or leave them out as well if no card is wanted",
        )
    if named:
        _check(named, where, family)
    return named


def _named(container: Object, where: str, family: Family) -> dict[str, int]:
    listed = container.get("resources") or {}
    found: dict[str, int] = {}
    for group in ("limits", "requests"):
        for name, text in (listed.get(group) or {}).items():
            if name not in family.resources.all:
                continue
            value = _whole(text, f"{where}.resources.{group}[{name}]", _instead(name, family))
            if found.setdefault(name, value) != value:
                raise RequestDenied(
                    f"{name} is {found[name]} in limits and {value} in requests",
                    where=where,
                    fix="Write the same amount, or leave requests out",
                )
    return found


def _check(named: dict[str, int], where: str, family: Family) -> None:
    resources = family.resources
    if set(named) == {resources.priority}:
        raise RequestDenied(
            f"{resources.priority} says who goes first on a card, and no card is asked for",
            where=where,
            fix=f"Add {resources.gpu}, or leave it out",
        )
    memory_unit = (
        "MiB" if family.memory_unit == names.MIB else f"units of {quantity.format_bytes(family.memory_unit)}"
    )
    cores_unit = (
        "percent of a card" if family.cores_whole == 100 else f"{family.cores_whole} are a whole card"
    )
    if family.slices:
        _between(named, resources.gpu, 1, family.slices, where, f"{family.slices} are a whole card")
        _slices_alone(named, where, family)
    else:
        _between(named, resources.gpu, 1, MOST_CARDS, where, "cards")
    _between(named, resources.memory, 1, None, where, memory_unit)
    _between(named, resources.memory_percentage, 1, 100, where, "percent")
    _between(named, resources.cores, 0, family.cores_whole, where, cores_unit)
    if resources.priority in named and named[resources.priority] not in (0, 1):
        raise RequestDenied(
            f"{resources.priority} is {named[resources.priority]}",
            where=where,
            fix="Write 0 (high) or 1 (low, as without it)",
        )
    if resources.memory in named and resources.memory_percentage in named:
        raise RequestDenied(
            f"{resources.memory} and {resources.memory_percentage} contradict each other",
            where=where,
            fix="Keep one of them",
        )
    memory = named.get(resources.memory, 0)
    if memory * family.memory_unit > MOST_MEMORY:
        likely = memory // family.memory_unit if memory <= MOST_MEMORY else 0
        raise RequestDenied(
            f"{resources.memory} counts {memory_unit}, and no card has {memory} of them",
            where=where,
            fix=f"Write {likely}, if bytes were meant" if likely else "Write less",
        )


def _slices_alone(named: dict[str, int], where: str, family: Family) -> None:
    others = [name for name in named if name != family.resources.gpu]
    if family.resources.gpu in named and others:
        raise RequestDenied(
            f"{family.resources.gpu} are slices with their memory and cores, and {' and '.join(others)}"
            " asks for them in another way",
            where=where,
            fix="Keep the one or the other",
        )


def _whole(text: object, where: str, fix: str) -> int:
    try:
        value = quantity.parse(str(text))
    except ValueError as problem:
        raise RequestDenied(str(problem), where=where, fix=fix) from problem
    if value.denominator != 1:
        raise RequestDenied(f"{text} is not a whole number", where=where, fix=fix)
    return int(value)


def _instead(name: str, family: Family) -> str:
    """What to write in place of an amount that is not whole: half a card is not half a count."""
    resources = family.resources
    parts = [part for part in (resources.memory, resources.cores) if part]
    if name != resources.gpu or not parts:
        return "Write a whole number"
    return f"Write a whole number; for a part of a card, add {' or '.join(parts)}"


def _between(named: dict[str, int], name: str, least: int, most: int | None, where: str, unit: str) -> None:
    value = named.get(name, least)
    if value < least or (most is not None and value > most):
        allowed = f"{least} to {most}" if most is not None else f"{least} or more"
        raise RequestDenied(
            f"{name} is {value}", where=where, fix=f"Write {allowed} ({unit}), or leave it out"
        )
