"""What is wrong with a profile beyond its form: names that nothing explains, amounts that cannot be. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hami_dra.devices import template
from hami_dra.devices.profile import Amount, Fact, Node, Profile
from hami_dra.model import quantity

Finding = tuple[str, str]
"""Key, and what is wrong with it."""

MOST_SIZES = 10
"""Limit of `requestPolicy.validValues` in resource.k8s.io/v1."""
_RESERVED = ("enforcement", "type", "uuid")
_IDENTIFIER = re.compile(r"[a-zA-Z_]\w{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESOURCE = re.compile(r"[a-z0-9.-]+/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_GLOB_NAMES = ("path", "file", "index")
_PCI_NAMES = ("address", "vendor", "device", "index")


def problems(profile: Profile) -> list[Finding]:
    """Everything that is wrong, in the order of the file."""
    known = set(_found_names(profile))
    findings = [*_discover(profile)]
    for name, fact in profile.facts.items():
        findings += _fact(f"facts.{name}", fact, known)
        known.add(name)
    findings += _models(profile, known)
    known |= columns(profile)
    findings += _texts([("name", profile.name), ("uuid", profile.uuid)], known)
    findings += [*_attributes(profile, known), *_capacities(profile, known)]
    findings += _container(profile, known | _share_names(profile))
    findings += [*_watching(profile, known), *_resources(profile)]
    return findings


def columns(profile: Profile) -> set[str]:
    """Facts that the table of models adds: those of all rows that are no sizes."""
    if profile.models is None:
        return set()
    rows = [*profile.models.table.values(), profile.models.unknown or {}]
    return {name for row in rows for name, value in row.items() if not isinstance(value, dict)}


def _found_names(profile: Profile) -> tuple[str, ...]:
    if profile.discover.pci:
        return _PCI_NAMES
    if profile.discover.command:
        groups = _compiled(profile.discover.pattern)
        return (*(groups.groupindex if groups else ()), "index")
    return _GLOB_NAMES


def _share_names(profile: Profile) -> set[str]:
    """Names of edits: the facts and what the share has consumed."""
    names = {"position", "name", "uuid"}
    for name, amount in profile.capacities.items():
        names |= {name, f"{name}.mib"}
        if amount.units:
            names |= {f"{name}.units", f"{name}.numbers"}
        if amount.sizes:
            names.add(f"{name}.word")
    return names


def _discover(profile: Profile) -> Iterator[Finding]:
    how = profile.discover
    ways = [bool(how.glob), how.pci is not None, bool(how.command)]
    if sum(ways) != 1:
        yield "discover", "must have one of glob, pci and command"
    if how.glob and not how.glob.startswith("/"):
        yield "discover.glob", f"{how.glob!r} is no absolute path"
    if how.command and not how.pattern:
        yield "discover.pattern", "is missing: its named groups tell the devices apart"
    facts = {*_found_names(profile), *profile.facts}
    for name, pattern in how.where.items():
        if name not in facts:
            yield f"discover.where.{name}", "no fact has this name"
        yield from _pattern(f"discover.where.{name}", pattern)
    yield from _pattern("discover.pattern", how.pattern)


def _fact(key: str, fact: Fact, known: set[str]) -> Iterator[Finding]:
    if sum(map(bool, (fact.file, fact.link, fact.glob, fact.command, fact.value))) != 1:
        yield key, "must have one of file, link, glob, command and value"
    texts = [("file", fact.file), ("link", fact.link), ("glob", fact.glob)]
    texts += [("value", fact.value), ("divide", fact.divide)]
    texts += [(f"command[{at}]", part) for at, part in enumerate(fact.command)]
    yield from _texts([(f"{key}.{name}", text) for name, text in (*texts, ("pattern", fact.pattern))], known)
    yield from _pattern(f"{key}.pattern", template.fill(fact.pattern, dict.fromkeys(known, "")))
    if fact.multiply < 1:
        yield f"{key}.multiply", f"{fact.multiply} is less than 1"


def _models(profile: Profile, known: set[str]) -> Iterator[Finding]:
    if profile.models is None:
        return
    yield from _texts([("models.match", profile.models.match)], known)
    expected: set[str] | None = None
    rows = {f"models.table.{name}": row for name, row in profile.models.table.items()}
    if profile.models.unknown is not None:
        rows["models.unknown"] = profile.models.unknown
    for key, row in rows.items():
        expected = expected if expected is not None else set(row)
        if set(row) != expected:
            odd = ", ".join(sorted(set(row) ^ expected))
            yield key, f"has not the same columns as the first row ({odd})"
        yield from _texts(
            [(f"{key}.{name}", value) for name, value in row.items() if isinstance(value, str)], known
        )
        for name, value in row.items():
            if isinstance(value, dict):
                yield from _sizes(f"{key}.{name}", value, known)


def _attributes(profile: Profile, known: set[str]) -> Iterator[Finding]:
    if "productName" not in profile.attributes:
        yield "attributes.productName", "is missing: people select by it"
    for name, value in profile.attributes.items():
        key = f"attributes.{name}"
        if not _IDENTIFIER.fullmatch(name.rpartition("/")[2]):
            yield key, "is no name of an attribute: letters, digits and _, at most 32"
        if name in _RESERVED:
            yield key, "is set for every family and cannot be changed"
        if isinstance(value, dict) and len(value) != 1:
            yield key, "must have one of version, int and string"
        texts = value.values() if isinstance(value, dict) else [value] if isinstance(value, str) else []
        yield from _texts([(key, text) for text in texts], known)


def _capacities(profile: Profile, known: set[str]) -> Iterator[Finding]:
    if profile.shared and not profile.capacities:
        yield "capacities", "is missing: without one a shared device could be given away for ever"
    if profile.shared == (profile.enforces == "whole"):
        yield "enforces", "is `whole` for devices that are not shared, and for no others"
    for name, amount in profile.capacities.items():
        key = f"capacities.{name}"
        if not _IDENTIFIER.fullmatch(name):
            yield key, "is no name of a capacity: letters, digits and _, at most 32"
        yield from _amount(profile, key, amount, known)


def _amount(profile: Profile, key: str, amount: Amount, known: set[str]) -> Iterator[Finding]:
    parts = {
        "value": amount.value,
        "default": amount.default,
        "least": amount.least,
        "step": amount.step,
        "units": amount.units,
    }
    for name, part in parts.items():
        text = str(part if part is not None else 0)
        yield from _texts([(f"{key}.{name}", text)], known)
        if not [*template.names(text)]:
            yield from _quantity(f"{key}.{name}", text)
    if bool(amount.value) == bool(amount.sizes):
        yield key, "must have one of value and sizes"
    if str(amount.step) == "0":
        yield f"{key}.step", "0 is no step"
    if isinstance(amount.sizes, dict):
        yield from _sizes(f"{key}.sizes", amount.sizes, known)
    elif amount.sizes:
        rows = [*profile.models.table.values(), profile.models.unknown] if profile.models else [{}]
        if not all(isinstance(row.get(amount.sizes), dict) for row in rows if row is not None):
            yield f"{key}.sizes", f"{amount.sizes!r} is no column of sizes in models.table"


def _sizes(key: str, sizes: dict[str, str], known: set[str]) -> Iterator[Finding]:
    if not 1 <= len(sizes) <= MOST_SIZES:
        yield key, f"has {len(sizes)} sizes; 1 to {MOST_SIZES} are possible"
    for size in sizes:
        yield from _texts([(f"{key}.{size}", size)], known)
        if not [*template.names(size)]:
            yield from _quantity(f"{key}.{size}", size)


def _container(profile: Profile, known: set[str]) -> Iterator[Finding]:
    container = profile.container
    if not container.devices and not container.environment:
        yield "container", "gives a container neither device nodes nor variables"
    for group, nodes in (("devices", container.devices), ("common", container.common)):
        for at, node in enumerate(nodes):
            yield from _path(f"container.{group}[{at}]", node, known)
    for at, mount in enumerate(container.mounts):
        path, inside = (mount, "") if isinstance(mount, str) else (mount.path, mount.inside)
        yield from _absolute(f"container.mounts[{at}]", path, inside)
        if [*template.names(path + inside)]:
            yield f"container.mounts[{at}]", "is for all devices and cannot name one"
    for name, variable in container.environment.items():
        key = f"container.environment.{name}"
        text = variable if isinstance(variable, str) else variable.value
        yield from _texts([(key, name), (key, text)], known)
        if not _VARIABLE.fullmatch(template.fill(name, dict.fromkeys(known, "0"))):
            yield key, "is no name of a variable"


def _path(key: str, node: str | Node, known: set[str]) -> Iterator[Finding]:
    path, inside = (node, "") if isinstance(node, str) else (node.path, node.inside)
    yield from _texts([(key, path), (key, inside)], known)
    yield from _absolute(key, path, inside)
    if key.startswith("container.common") and [*template.names(path + inside)]:
        yield key, "is for all devices and cannot name one"


def _absolute(key: str, *paths: str) -> Iterator[Finding]:
    for path in paths:
        if path and (not path.startswith("/") or ".." in path.split("/")):
            yield key, f"{path!r} is no absolute path"


def _watching(profile: Profile, known: set[str]) -> Iterator[Finding]:
    for at, check in enumerate(profile.health):
        key = f"health[{at}]"
        if bool(check.file) == bool(check.command):
            yield key, "must have one of file and command"
        yield from _texts([(key, text) for text in (check.file, check.expect, *check.command)], known)
        yield from _pattern(f"{key}.expect", template.fill(check.expect, dict.fromkeys(known, "")))
    for name, gauge in (("memory", profile.usage.memory), ("compute", profile.usage.compute)):
        if gauge is not None:
            yield from _fact(f"usage.{name}", gauge, known)


def _resources(profile: Profile) -> Iterator[Finding]:
    for at, row in enumerate(profile.resources):
        for name in (row.count, row.memory, row.memory_percentage, row.cores):
            if name and not _RESOURCE.fullmatch(name):
                yield f"resources[{at}]", f"{name!r} is no name of a resource (vendor.com/name)"
        behind_cores = "memory" if row.core_sizes else "cores"
        for name, capacity in ((row.memory, "memory"), (row.cores, behind_cores)):
            if name and capacity not in profile.capacities:
                yield f"resources[{at}]", f"{name} needs a capacity {capacity}, and there is none"
        if row.slices and not {"cores", "memory"} <= set(profile.capacities):
            yield f"resources[{at}].slices", "needs the capacities memory and cores"
        yield from _quantity(f"resources[{at}].memoryUnit", row.memory_unit)
        for percent, size in row.core_sizes.items():
            yield from _quantity(f"resources[{at}].coreSizes.{percent}", size)


def _texts(texts: list[tuple[str, str]], known: set[str]) -> Iterator[Finding]:
    for key, text in texts:
        for name in template.names(text):
            if name not in known:
                yield key, f"{{{name}}} is not known here (known: {', '.join(sorted(known))})"


def _pattern(key: str, pattern: str) -> Iterator[Finding]:
    try:
        re.compile(pattern)
    except re.error as problem:
        yield key, f"is no regular expression: {problem}"


def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _quantity(key: str, text: str) -> Iterator[Finding]:
    try:
        if quantity.parse(text) < 0:
            yield key, f"{text} is negative"
    except ValueError as problem:
        yield key, str(problem)
