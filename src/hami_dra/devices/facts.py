"""What a profile knows about the devices of a host: found, then told apart by their facts and model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from hami_dra.devices import template
from hami_dra.devices.host import Host
from hami_dra.devices.profile import Fact, Profile
from hami_dra.model.errors import DriverError

Sizes = dict[str, str]


@dataclass(frozen=True)
class Known:
    """A device: its facts by name, and its columns of sizes (amount -> word)."""

    facts: dict[str, str]
    sizes: dict[str, Sizes]


class Missing(DriverError):
    """A fact cannot be had."""


def known_devices(profile: Profile, host: Host) -> Iterator[Known | Missing]:
    """Every device of the family, in order; what is missing to know one comes in its place."""
    for found in _found(profile, host):
        try:
            facts = _facts(profile, found, host)
            if facts is not None:
                yield _with_model(profile, facts)
        except Missing as problem:
            yield problem


def _facts(profile: Profile, found: dict[str, str], host: Host) -> dict[str, str] | None:
    """FOUND and all facts; None as soon as one of them tells that this is no device of the family."""
    where = profile.discover.where
    facts = dict(found)
    for name in (*found, *profile.facts):
        if name in profile.facts:
            facts[name] = read(name, profile.facts[name], facts, host)
        if name in where and not re.fullmatch(where[name], facts[name]):
            return None
    return facts


def read(name: str, fact: Fact, facts: dict[str, str], host: Host) -> str:
    """One fact of a device with these FACTS; Missing when it has none and no default."""
    try:
        text, where = _source(fact, facts, host)
        if text is not None and fact.pattern:
            match = re.search(template.fill(fact.pattern, facts, re.escape), text, re.MULTILINE)
            text = match.group(match.re.groups and 1) if match else None
        if text is None:
            if fact.default is not None:
                return fact.default
            raise Missing(f"{name}: {where} does not tell it")
        return _computed(fact, text, facts)
    except ValueError as problem:
        raise Missing(f"{name}: {problem}") from problem


def _source(fact: Fact, facts: dict[str, str], host: Host) -> tuple[str | None, str]:
    """The text, and where it comes from in a person's words."""
    if fact.command:
        command = tuple(template.fill(part, facts) for part in fact.command)
        return host.run(command), f"`{' '.join(command)}`"
    if fact.link:
        path = template.fill(fact.link, facts)
        found = host.find(path)
        return (None if found is None else found.name), path
    if fact.glob:
        path = template.fill(fact.glob, facts)
        return next((PurePosixPath(found).name for found in host.glob(path)), None), path
    if fact.file:
        path = template.fill(fact.file, facts)
        return host.read(path), path
    return template.fill(fact.value, facts), fact.value


def _computed(fact: Fact, text: str, facts: dict[str, str]) -> str:
    if fact.multiply == 1 and not fact.divide and not fact.digits:
        return text
    number = int(text, 0) * fact.multiply
    if fact.divide:
        by = int(template.fill(fact.divide, facts), 0)
        if by == 0:
            raise ValueError(f"{fact.divide} is 0")
        number //= by
    return format(number, fact.digits)


def _found(profile: Profile, host: Host) -> Iterator[dict[str, str]]:
    how = profile.discover
    if how.pci is not None:
        yield from _pci(profile, host)
    elif how.command:
        said = host.run(tuple(how.command)) or ""
        for at, match in enumerate(re.finditer(how.pattern, said, re.MULTILINE)):
            yield {"index": str(at)} | {key: value or "" for key, value in match.groupdict().items()}
    else:
        for at, path in enumerate(host.glob(how.glob)):
            numbers = re.findall(r"\d+", path)
            yield {
                "path": path,
                "file": PurePosixPath(path).name,
                "index": numbers[-1] if numbers else str(at),
            }


def _pci(profile: Profile, host: Host) -> Iterator[dict[str, str]]:
    wanted = profile.discover.pci
    assert wanted is not None  # noqa: S101
    at = 0
    for path in host.glob("/sys/bus/pci/devices/*"):
        vendor, device = host.read(f"{path}/vendor"), host.read(f"{path}/device")
        kind = host.read(f"{path}/class") or ""
        fits = vendor == wanted.vendor and (not wanted.device or device in wanted.device)
        if fits and device and vendor and kind.startswith(wanted.class_):
            yield {
                "address": PurePosixPath(path).name,
                "vendor": vendor,
                "device": device,
                "index": str(at),
            }
            at += 1


def _with_model(profile: Profile, facts: dict[str, str]) -> Known:
    models = profile.models
    if models is None:
        return Known(facts, {})
    key = template.fill(models.match, facts)
    row = models.table.get(key, models.unknown)
    if row is None:
        raise Missing(f"model {key!r} is not in models.table of the profile: add a row for it")
    texts = {
        name: template.fill(str(value), facts) for name, value in row.items() if not isinstance(value, dict)
    }
    return Known(facts | texts, {name: value for name, value in row.items() if isinstance(value, dict)})
