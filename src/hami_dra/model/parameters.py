"""Opaque parameters of a claim or DeviceClass: `ShareParameters`, decoded strictly.

    apiVersion: hami-core-gpu.project-hami.io/v1
    kind: ShareParameters
    priority: high                  # or low (default): who goes first when a card is contended
    coresPolicy: soft               # or hard (default); soft: may use compute above `cores` that is idle
    memoryOversubscription: true    # default false; true: beyond the limit, host memory instead of a refusal
    logLevel: 3                     # 0 (nothing) .. 4 (debug) of the limiter in the container
    enforcement: none               # or limiter (default); none: no limit. In a DeviceClass only

The same functions serve admission, before a claim is stored, and the node, before it is prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hami_dra.model.errors import UserError
from hami_dra.model.names import DRIVER

API_VERSION = f"{DRIVER}/v1"
KIND = "ShareParameters"


@dataclass(frozen=True)
class ShareParameters:
    """What holds for one share, of class and claim together. `log_level` None: the limiter's own."""

    priority: str = "low"
    cores_policy: str = "hard"
    memory_oversubscription: bool = False
    log_level: int | None = None
    enforcement: str = "limiter"


DEFAULTS = ShareParameters()


class _Field(NamedTuple):
    attribute: str
    accepts: Callable[[Any], bool]
    expected: str


def _one_of(*words: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: isinstance(value, str) and value in words), " or ".join(words)


_FIELDS = {
    "priority": _Field("priority", *_one_of("high", "low")),
    "coresPolicy": _Field("cores_policy", *_one_of("hard", "soft")),
    "memoryOversubscription": _Field(
        "memory_oversubscription", lambda value: isinstance(value, bool), "true or false"
    ),
    "logLevel": _Field("log_level", lambda value: type(value) is int and 0 <= value <= 4, "0 to 4"),
    "enforcement": _Field("enforcement", *_one_of("limiter", "none")),
}


def problems(parameters: object, where: str, *, from_class: bool = False) -> list[UserError]:
    """Everything that is wrong with one `opaque.parameters`; WHERE is its field path. Empty: fine."""
    if not isinstance(parameters, Mapping):
        return [UserError("not an object", where=where, fix=f"Write a {KIND} of {API_VERSION}")]
    found = [
        UserError(f"{parameters.get(key)!r} is not known", where=f"{where}.{key}", fix=f"Write {expected}")
        for key, expected in (("apiVersion", API_VERSION), ("kind", KIND))
        if parameters.get(key) != expected
    ]
    for key, value in parameters.items():
        path = f"{where}.{key}"
        field = _FIELDS.get(key)
        if key in ("apiVersion", "kind"):
            continue
        if field is None:
            found.append(UserError("unknown field", where=path, fix=f"Known are {', '.join(_FIELDS)}"))
        elif not field.accepts(value):
            found.append(UserError(f"{value!r} is not allowed", where=path, fix=f"Write {field.expected}"))
        elif key == "enforcement" and value == "none" and not from_class:
            # Whoever may write a claim must not be able to take the limit off himself.
            found.append(
                UserError(
                    "none is the administrator's to give", where=path, fix="Use a DeviceClass that has it"
                )
            )
    return found


def claim_problems(spec: Mapping[str, Any], where: str = "spec") -> list[UserError]:
    """What is wrong with our parameters in the spec of a ResourceClaim (or of a template's claim)."""
    configs = (spec.get("devices") or {}).get("config") or []
    return [
        problem
        for at, entry in enumerate(configs)
        if addressed(entry, DRIVER)
        for problem in problems(
            entry["opaque"].get("parameters"), f"{where}.devices.config[{at}].opaque.parameters"
        )
    ]


def allocation_problems(configs: Sequence[Mapping[str, Any]]) -> list[UserError]:
    """The same for `status.allocation.devices.config`, where the class's parameters stand as well."""
    return [
        problem
        for at, entry in enumerate(configs)
        if addressed(entry, DRIVER)
        for problem in problems(
            entry["opaque"].get("parameters"),
            f"status.allocation.devices.config[{at}].opaque.parameters",
            from_class=entry.get("source") == "FromClass",
        )
    ]


def effective(configs: Iterable[Mapping[str, Any]], request: str) -> ShareParameters:
    """What holds for REQUEST (`gpu`, or `gpu/large` of firstAvailable); field by field the last counts.

    CONFIGS: `status.allocation.devices.config` without problems; the scheduler puts the class first.
    """
    names = {request, request.partition("/")[0]}
    given = {
        _FIELDS[key].attribute: value
        for entry in configs
        if addressed(entry, DRIVER) and (not entry.get("requests") or names & set(entry["requests"]))
        for key, value in entry["opaque"]["parameters"].items()
        if key in _FIELDS
    }
    return ShareParameters(**given)


def addressed(entry: Mapping[str, Any], driver: str) -> bool:
    """Whether ENTRY of a list of parameters is for DRIVER."""
    return bool((entry.get("opaque") or {}).get("driver") == driver)
