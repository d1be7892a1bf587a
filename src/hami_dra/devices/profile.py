"""The form of a family's profile, read strictly: docs/profiles.md says what each key means.

A profile describes a whole family without code. `profile_file` reads one, `profile_check` says what is wrong
with it beyond its form.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

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
