"""The form of a family's profile, read strictly: docs/profiles.md says what each key means.

A profile describes a whole family without code. `load` refuses what it cannot stand by, with file, key and
reason; nothing is left to fail when a Pod waits.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from hami_dra.devices import profile_check
from hami_dra.model.errors import UserError

Label = Annotated[str, msgspec.Meta(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Form(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What all parts of a profile have in common: unknown keys are errors."""


class Pci(Form):
    """PCI functions, by the numbers in sysfs, for example `0x19e5`."""

    vendor: Text
    device: list[str] = []
    class_: str = msgspec.field(name="class", default="")


class Discover(Form):
    """One of the first three finds the devices; `where` keeps those whose facts match patterns as a whole."""

    glob: str = ""
    pci: Pci | None = None
    command: list[str] = []
    pattern: str = ""
    where: dict[str, str] = {}


class Fact(Form):
    """One thing to know about a device; the first five say where from, the others what to make of it."""

    file: str = ""
    link: str = ""
    glob: str = ""
    command: list[str] = []
    value: str = ""
    pattern: str = ""
    default: str | None = None
    multiply: int = 1
    divide: str = ""
    digits: Annotated[str, msgspec.Meta(pattern=r"^(0\d{1,2}x)?$")] = ""


class Models(Form):
    """Facts that only the model tells. Without `unknown` a model that is not listed is left out."""

    match: Text
    table: dict[str, dict[str, str | int | dict[str, str]]]
    unknown: dict[str, str | int | dict[str, str]] | None = None


class Amount(Form):
    """A capacity. `sizes`: the column of `models.table`, or the map, that names the sizes there are."""

    value: str | int = 0
    unit: Literal["bytes", "count"] = "count"
    default: str | int | None = None
    least: str | int = 0
    step: str | int = 1
    sizes: str | dict[str, str] = ""
    units: str | int = 0


When = Literal["always", "whole", "part"]


class Node(Form):
    """A device node; `when` a share is the whole device, or a part of it."""

    path: Text
    inside: str = ""
    optional: bool = False
    when: When = "always"


class Mount(Form):
    """A file or folder of the host."""

    path: Text
    inside: str = ""
    optional: bool = False
    writable: bool = False


class Variable(Form):
    """An environment variable; the values of a claim's devices are joined."""

    value: Text
    join: str = ","
    when: When = "always"


class Container(Form):
    """What a container gets: `devices` for each device, the others once."""

    devices: list[str | Node] = []
    common: list[str | Node] = []
    mounts: list[str | Mount] = []
    environment: dict[str, str | Variable] = {}


class Check(Form):
    """A device is well while the file, or what the command prints, matches; `key` names the problem."""

    key: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
    file: str = ""
    command: list[str] = []
    expect: str = ""
    fatal: bool = True


class Gauges(Form):
    """What a device uses: bytes, and percent."""

    memory: Fact | None = None
    compute: Fact | None = None


class Resources(Form):
    """Resource names that Pods write for this family; `product`: for models with this in their name only,
    and without `not_product`.

    `cores_whole`: so many of the cores resource are a whole device. `core_sizes`: there is no capacity for
    them, they come with a size of memory; by percent of a device, the size that brings as much.
    `slices`: so many of `count` are one device, and what is named is a part of its memory and cores.
    `use_uuid`, `nouse_uuid`: annotations of this row, instead of the family's.
    """

    count: Text
    memory: str = ""
    memory_percentage: str = ""
    cores: str = ""
    memory_unit: str = "1Mi"
    cores_whole: Annotated[int, msgspec.Meta(ge=1)] = 100
    core_sizes: dict[Annotated[int, msgspec.Meta(ge=1, le=99)], str] = {}
    slices: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    product: str = ""
    not_product: str = ""
    use_uuid: str = ""
    nouse_uuid: str = ""


class Annotations(Form):
    """Annotations of Pods that choose devices."""

    use_type: str = ""
    nouse_type: str = ""
    use_uuid: str = ""
    nouse_uuid: str = ""


class Profile(Form, kw_only=True):
    """A family. `enforcement`: in one line, what holds a share to its limits. `verified`: what it ran on."""

    profile: Literal[1]
    family: Label
    title: Text
    enforces: Literal["hard", "driver", "advisory", "whole"]
    enforcement: Text
    verified: Text
    notes: str = ""
    discover: Discover
    facts: dict[str, Fact] = {}
    models: Models | None = None
    name: Text
    uuid: Text
    attributes: dict[str, str | bool | dict[Literal["version", "int", "string"], str]] = {}
    shared: bool = True
    capacities: dict[str, Amount] = {}
    container: Container
    health: list[Check] = []
    usage: Gauges = msgspec.field(default_factory=Gauges)
    resources: list[Resources] = []
    annotations: Annotations = msgspec.field(default_factory=Annotations)

    @property
    def driver(self) -> str:
        """DRA driver and DeviceClass of the family."""
        return f"{self.family}.project-hami.io"


def schema() -> dict[str, Any]:
    """The form as JSON Schema, for editors. What it cannot say, `load` finds."""
    return msgspec.json.schema(Profile)


def load(path: Path) -> Profile:
    """Read one profile; UserError says what is wrong with it, at which key."""
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"cannot be read: {problem}", where=str(path)) from problem
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        at = f"{path}:{mark.line + 1}" if mark else str(path)
        what = getattr(problem, "problem", None) or str(problem)
        raise UserError(f"is not YAML: {what}", where=at, fix="Mend the file") from problem
    return parse(data, str(path), path.stem)


def parse(data: Any, where: str, family: str) -> Profile:
    """Check what a profile says. FAMILY is the file's name, which the profile must repeat."""
    try:
        profile = msgspec.convert(data, Profile)
    except msgspec.ValidationError as problem:
        key, what = _located(data, problem)
        raise UserError(what, where=f"{where}: {key}", fix=profile_check.MANUAL) from problem
    found = profile_check.problems(profile)
    if profile.family != family:
        found.insert(0, ("family", f"is {profile.family!r}, and the file is named {family!r}"))
    if found:
        key, what = found[0]
        raise UserError(what, where=f"{where}: {key}", fix=profile_check.MANUAL)
    return profile


# msgspec does not name the entry of a map that is wrong: these are the maps, and what an entry is.
_MAPS: dict[tuple[str, ...], Any] = {
    ("facts",): Fact,
    ("attributes",): str | bool | dict[Literal["version", "int", "string"], str],
    ("capacities",): Amount,
    ("container", "environment"): str | Variable,
    ("models", "table"): dict[str, str | int | dict[str, str]],
}


def _located(data: Any, problem: msgspec.ValidationError) -> tuple[str, str]:
    """The key as people write it, and what is wrong with it."""
    what, _, path = str(problem).partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    for steps, kind in _MAPS.items():
        if not key.startswith(".".join(steps) + "[...]"):
            continue
        entries = data
        for step in steps:
            entries = entries[step]
        for name, entry in entries.items():
            try:
                msgspec.convert(entry, kind)
            except msgspec.ValidationError as inner:
                what, _, rest = str(inner).partition(" - at `$")
                key = ".".join((*steps, str(name))) + rest.rstrip("`")
                break
    named = re.search(r"field `(\w+)`", what)
    key = ".".join(part for part in (key, named.group(1) if named else "") if part)
    return key or "profile", what[:1].lower() + what[1:]
