"""Any family that a profile describes: profile + host -> facts -> Device, and a share -> edits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from hami_dra.devices import facts, generic_edits, template
from hami_dra.devices.backend import ClaimEdits, Grant, Problem, Usage
from hami_dra.devices.host import Host
from hami_dra.devices.profile import Amount, Check, Fact, Profile
from hami_dra.model import quantity
from hami_dra.model.device import Attribute, Capacity, Device, Version
from hami_dra.model.errors import DriverError

log = structlog.get_logger(__name__)

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Detail:
    """What a device keeps for its edits: facts, words of sizes by capacity, and its place in the order."""

    facts: Mapping[str, str]
    words: Mapping[str, Mapping[int, str]]
    order: int


class GenericBackend:
    """`Backend` for the devices that PROFILE finds on HOST."""

    limiter = False

    def __init__(self, profile: Profile, host: Host) -> None:
        self.profile = profile
        self._host = host
        self._left_out: list[str] = []

    @property
    def driver(self) -> str:
        """See Backend."""
        return self.profile.driver

    @property
    def claim_wide(self) -> bool:
        """See Backend: variables are joined over a claim, and positions counted in it."""
        container = self.profile.container
        inside = [name for node in container.devices for name in template.names(getattr(node, "inside", ""))]
        return bool(container.environment) or "position" in inside

    def discover(self) -> list[Device]:
        """See Backend. A device that the profile cannot describe is left out and told in the log."""
        devices: list[Device] = []
        missing: list[str] = []
        for one in facts.known_devices(self.profile, self._host):
            if isinstance(one, facts.Missing):
                missing.append(str(one))
            else:
                devices.append(self._device(one, len(devices)))
        for reason in missing:
            if reason not in self._left_out:  # told once: this is asked every few seconds
                log.warning("device left out", family=self.profile.family, reason=reason)
        self._left_out = missing
        for group in ("name", "uuid"):
            values = [getattr(device, group) for device in devices]
            if len(set(values)) != len(values):
                raise DriverError(f"profile {self.profile.family}: two devices have the same {group}")
        return devices

    def settle(self, grants: Sequence[Grant], about: Sequence[Device]) -> None:
        """See Backend: these devices are simply there."""

    def edits(self, grants: Sequence[Grant]) -> ClaimEdits:
        """See Backend."""
        return generic_edits.edits(self.profile.container, self._host, grants)

    def health(self, devices: Sequence[Device]) -> list[Problem]:
        """See Backend."""
        return [
            Problem(device.name, check.key, f"{_about(check, device)} says {said!r}", fatal=check.fatal)
            for device in devices
            for check in self.profile.health
            if (said := self._wrong(check, device)) is not None
        ]

    def usage(self, devices: Sequence[Device]) -> list[Usage]:
        """See Backend."""
        gauges = self.profile.usage
        if gauges.memory is None and gauges.compute is None:
            return []
        found = []
        for device in devices:
            memory, percent = self._gauge(gauges.memory, device), self._gauge(gauges.compute, device)
            found.append(Usage(device.name, memory, None if percent is None else percent / 100))
        return found

    def _device(self, known: facts.Known, order: int) -> Device:
        profile = self.profile
        name = template.fill(profile.name, known.facts)
        if not _NAME.fullmatch(name):
            raise DriverError(f"profile {profile.family}: {name!r} is no name for a device (a-z, 0-9 and -)")
        where = f"profile {profile.family}: {name}: capacities"
        words = {
            key: _words(f"{where}.{key}", amount, known)
            for key, amount in profile.capacities.items()
            if amount.sizes
        }
        capacities = tuple(
            _capacity(f"{where}.{key}", key, amount, known, words)
            for key, amount in profile.capacities.items()
        )
        uuid = template.fill(profile.uuid, known.facts)
        attributes: dict[str, Attribute] = {
            "enforcement": profile.enforces,
            "type": f"hami-{profile.family}",
            "uuid": uuid,
        }
        for key, value in profile.attributes.items():
            if (attribute := _attribute(value, known.facts)) is not None:
                attributes[key] = attribute
        return Device(name, uuid, attributes, capacities, profile.shared, Detail(known.facts, words, order))

    def _wrong(self, check: Check, device: Device) -> str | None:
        """What a check says instead of what it should; None when all is well."""
        values = device.detail.facts
        if check.file:
            said = self._host.read(template.fill(check.file, values))
        else:
            said = self._host.run(tuple(template.fill(part, values) for part in check.command))
        if said is None:
            return "nothing"
        well = re.search(template.fill(check.expect, values, re.escape), said, re.MULTILINE)
        return None if well else said[:100]

    def _gauge(self, gauge: Fact | None, device: Device) -> int | None:
        if gauge is None:
            return None
        try:
            return int(facts.read("usage", gauge, dict(device.detail.facts), self._host))
        except (facts.Missing, ValueError):
            return None


def _capacity(
    where: str, name: str, amount: Amount, known: facts.Known, words: Mapping[str, Mapping[int, str]]
) -> Capacity:
    def number(part: str | int) -> int:
        text = template.fill(str(part), known.facts)
        try:
            return quantity.parse_int(text) if not text.startswith("0x") else int(text, 16)
        except ValueError as problem:
            raise DriverError(f"{where}: {problem}") from problem

    least, step, value = number(amount.least), number(amount.step), number(amount.value)
    sizes = tuple(sorted(words.get(name, ())))
    whole = sizes[-1] if sizes else least + max(value - least, 0) // step * step
    capacity = Capacity(
        name,
        value=whole,
        default=whole if amount.default is None else number(amount.default),
        least=least,
        step=step,
        values=sizes,
        in_bytes=amount.unit == "bytes",
        units=number(amount.units),
    )
    if whole < 1 or not capacity.accepts(capacity.default) or (not sizes and least + step > whole):
        raise DriverError(f"{where}: {value} with least {least} and step {step} leaves nothing to share")
    return capacity


def _words(where: str, amount: Amount, known: facts.Known) -> dict[int, str]:
    sizes = amount.sizes if isinstance(amount.sizes, dict) else known.sizes[amount.sizes]
    try:
        return {quantity.parse_int(template.fill(size, known.facts)): word for size, word in sizes.items()}
    except ValueError as problem:
        raise DriverError(f"{where}.sizes: {problem}") from problem


def _attribute(value: str | bool | Mapping[Any, str], values: Mapping[str, str]) -> Attribute | None:
    """None when there is nothing to say, as for a version that the driver does not tell."""
    if isinstance(value, bool):
        return value
    (kind, text) = next(iter(value.items())) if isinstance(value, Mapping) else ("string", value)
    filled = template.fill_or_nothing(text, values)
    if kind == "int":
        return int(filled, 0) if re.fullmatch(r"-?\d+|0x[0-9a-f]+", filled) else None
    if kind == "version":
        return Version(filled) if re.search(r"\d", filled) else None
    return filled or None


def _about(check: Check, device: Device) -> str:
    values = device.detail.facts
    return template.fill(check.file or f"`{' '.join(check.command)}`", values)
