"""Reference pages from their sources: commands, chart values, roles, attributes, parameters of a claim."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import yaml

from hami_dra.cli.main import COMMANDS, cli
from hami_dra.model import parameters

REPO = Path(__file__).parents[2]
CHART = REPO / "charts/hami"

ATTRIBUTES = {
    "architecture": "generation of the chip",
    "brand": "NVML's brand",
    "cudaComputeCapability": "CUDA compute capability of the chip",
    "cudaDriverVersion": "newest CUDA version that the driver supports",
    "driverVersion": "version of the driver",
    "minor": "number in `/dev/nvidia<minor>`",
    "migMode": "`enabled` or `disabled`, on cards that support MIG",
    "nvlinkPeers": "PCI addresses at the other ends of its NVLinks: cards, or the switches of a fabric",
    "pcieBusID": "address on the PCI bus",
    "productName": "as the driver calls it",
    "resource.kubernetes.io/pciBusID": "the same, under the name that all drivers use",
    "resource.kubernetes.io/pcieRoot": "root of its PCI tree; the same for cards that talk to each other "
    "directly",
    "serial": "serial number, with `drivers.nvidia.publishSerial`",
    "type": "`hami-gpu`: a card that is shared by memory and cores",
    "uuid": "the card's identity; limits are keyed by it",
    "numaNode": "the nearest NUMA node of the host",
}


def pages() -> dict[str, str]:
    """Every page by its path below docs/."""
    return {
        "reference/cli.md": _commands(),
        "reference/values.md": _values(),
        "reference/roles.md": _roles(),
        "reference/attributes.md": _attributes(),
        "reference/parameters.md": _parameters(),
    }


def _commands() -> str:
    parts = [
        "# Commands\n",
        "All commands of `hami`, which also works as `kubectl hami`. Exit codes: 0 all is well, 1 something "
        "is wrong or the input was refused, 2 the command could not find out.\n",
    ]
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None  # noqa: S101  the table's own names
        context = click.Context(command, info_name=f"hami {name}", terminal_width=80, max_content_width=80)
        parts.append(f"## {name}\n\n```text\n{_stable(command.get_help(context))}\n```\n")
        variables = [
            f"| `{option.opts[-1]}` | `{option.envvar}` |"
            for option in command.params
            if isinstance(option, click.Option) and option.envvar
        ]
        if variables:
            parts.append("\n".join(["| option | variable |", "|---|---|", *variables]) + "\n")
    return "\n".join(parts)


def _stable(text: str) -> str:
    """Defaults that are of this machine."""
    import os

    return text.replace(f"default: {os.uname().nodename}", "default: this host's name")


def _values() -> str:
    text = (CHART / "charts/hami-dra/values.yaml").read_text()
    lines = [
        "# Chart values",
        "",
        "In the chart `hami` all of these are under `hami-dra:`, except `global`; `dra.enabled=true` is "
        "required. Unknown keys and contradictory values are refused.",
    ]
    for title, rows in groupby(_leaves(text), key=lambda leaf: _values_section(leaf[0])):
        lines += ["", f"## {title}", "", "| value | default | meaning |", "|---|---|---|"]
        lines += [f"| `{path}` | {_shown(default)} | {about} |" for path, default, about in rows]
    return "\n".join([*lines, ""])


def _values_section(path: str) -> str:
    """The heading a value stands under: its component's, or one for what concerns all components."""
    first, _, rest = path.partition(".")
    if first == "drivers":
        return f"{first}.{rest.partition('.')[0]}"
    return first if rest and first not in ("global", "image") else "All components"


def _leaves(text: str) -> Iterator[tuple[str, Any, str]]:
    """Path, default and comment of each value. One without a comment takes that of the key right above it."""
    root = yaml.compose(text)
    comments = _comments(text.splitlines())

    def walk(node: Any, path: tuple[str, ...], about: str) -> Iterator[tuple[str, Any, str]]:
        for key, value in node.value:
            said = comments.get(key.start_mark.line, "")
            inner = (*path, key.value)
            if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
                yield from walk(value, inner, said)
            else:
                yield ".".join(inner), yaml.safe_load(yaml.serialize(value)), said or about

    yield from walk(root, (), "")


def _comments(lines: list[str]) -> dict[int, str]:
    """The comment lines right above each line."""
    found: dict[int, str] = {}
    said: list[str] = []
    for number, line in enumerate(lines):
        stripped = line.strip()
        if stripped.startswith("#"):
            said.append(stripped.lstrip("# "))
        elif stripped:
            found[number] = " ".join(said)
            said = []
        else:
            said = []
    return found


def _shown(default: Any) -> str:
    text = json.dumps(default)
    return f"`{text}`" if len(text) < 60 else "see the file"


def _roles() -> str:
    order = [
        play.split("/")[-1] for play in re.findall(r"role: (\w+)", (REPO / "playbooks/site.yml").read_text())
    ]
    found = sorted((REPO / "roles").iterdir(), key=lambda role: (order + [role.name]).index(role.name))
    body = [
        (role / "README.md").read_text().split("\nGenerated by")[0].replace("# ", "## ", 1)
        for role in found
        if (role / "README.md").is_file()
    ]
    head = "# Roles\n\nThe collection's roles, in the order in which `playbooks/site.yml` uses them.\n"
    return head + "\n" + "\n".join(body)


def _attributes() -> str:
    """From the slice of a simulated A10, so that an attribute that is added shows up, with its type."""
    command = [sys.executable, "-m", "hami_dra.cli.main", "slice", "--node", "node", "-o", "json"]
    command += ["--sim", str(REPO / "tests/guide/gpus-a10.yaml")]
    device = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["spec"][
        "devices"
    ][0]
    rows = []
    for name, value in device["attributes"].items():
        ((kind, example),) = value.items()
        rows.append(f"| `{name}` | {kind} | `{example}` | {ATTRIBUTES[name]} |")
    capacities = [
        f"| `{name}` | `{entry['value']}` | `{json.dumps(entry.get('requestPolicy', {}))}` |"
        for name, entry in device["capacity"].items()
    ]
    return "\n".join(
        [
            "# Attributes and capacities",
            "",
            "What claims select by, of an NVIDIA card. Names without a domain are in "
            "`hami-core-gpu.project-hami.io`. The values are those of a *simulated* A10.",
            "",
            "| attribute | type | example | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            "## Capacities",
            "",
            "| capacity | example | policy of requests |",
            "|---|---|---|",
            *capacities,
            "",
        ]
    )


def _parameters() -> str:
    example = (parameters.__doc__ or "").split("\n\n")[1]
    rows = [
        f"| `{name}` | {field.expected} | `{getattr(parameters.DEFAULTS, field.attribute)}` |"
        for name, field in parameters._FIELDS.items()
    ]
    block = "\n".join(line.removeprefix("    ") for line in example.splitlines())
    return "\n".join(
        [
            "# Parameters of a claim",
            "",
            "In `spec.devices.config[].opaque.parameters` of a ResourceClaim, a template or a DeviceClass.",
            "",
            f"```yaml\n{block}\n```",
            "",
            "| field | values | default |",
            "|---|---|---|",
            *rows,
            "",
            "An unknown field or value is refused, with its path. `enforcement: none` works in a DeviceClass "
            "only, so that nobody who may write a claim can remove its limit.",
            "",
        ]
    )
