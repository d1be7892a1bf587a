"""A claim's shares -> the edits that a profile's `container` says.

Variables are joined over the claim: two devices in one container need one `ASCEND_VISIBLE_DEVICES=0,1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from hami_dra.devices import template
from hami_dra.devices.backend import ClaimEdits, Edits, Grant
from hami_dra.devices.host import Host
from hami_dra.devices.profile import Container, Mount, Node, Variable
from hami_dra.model.names import MIB


def edits(container: Container, host: Host, grants: Sequence[Grant]) -> ClaimEdits:
    """See devices.backend.Backend.edits."""
    ordered = sorted(grants, key=lambda grant: grant[0].detail.order)
    positions = {name: at for at, name in enumerate(dict.fromkeys(device.name for device, _ in ordered))}
    values = [_values(grant, positions[grant[0].name]) for grant in ordered]
    common: Edits = {
        "deviceNodes": _nodes(container.common, host, {}, whole=False),
        "mounts": [edit for mount in container.mounts for edit in _mount(mount, host)],
        "env": list(_environment(container.environment, ordered, values)),
    }
    shares = {
        share.key: {"deviceNodes": _nodes(container.devices, host, known, whole=_whole((device, share)))}
        for (device, share), known in zip(ordered, values, strict=True)
    }
    return ClaimEdits(common, shares)


def ranges(numbers: Iterable[int]) -> str:
    """0, 1, 2, 5 -> "0-2,5"."""
    runs = groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])
    spans = [[number for _, number in run] for _, run in runs]
    return ",".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans)


def _values(grant: Grant, position: int) -> dict[str, str]:
    """What the texts of `container` may name: the facts, and what the share has consumed."""
    device, share = grant
    values = {**device.detail.facts, "position": str(position), "name": device.name, "uuid": device.uuid}
    for capacity in device.capacities:
        amount = share.consumed.get(capacity.name, capacity.value)
        values[capacity.name] = str(amount)
        values[f"{capacity.name}.mib"] = str(amount // MIB)
        units = share.units.get(capacity.name, ())
        values[f"{capacity.name}.units"] = ranges(units)
        values[f"{capacity.name}.numbers"] = ranges(position * capacity.units + unit for unit in units)
        values[f"{capacity.name}.word"] = device.detail.words.get(capacity.name, {}).get(amount, "")
    return values


def _whole(grant: Grant) -> bool:
    device, share = grant
    return all(share.consumed[capacity.name] == capacity.value for capacity in device.consumable)


def _applies(when: str, whole: bool) -> bool:
    return when == "always" or (when == "whole") == whole


def _nodes(
    listed: Sequence[str | Node], host: Host, values: Mapping[str, str], *, whole: bool
) -> list[dict[str, Any]]:
    nodes = []
    for entry in listed:
        node = Node(path=entry) if isinstance(entry, str) else entry
        path, inside = template.fill(node.path, values), template.fill(node.inside, values)
        if not _applies(node.when, whole) or (node.optional and host.find(path) is None):
            continue
        nodes.append(host.node(path, inside))
    return nodes


def _mount(listed: str | Mount, host: Host) -> list[dict[str, Any]]:
    mount = Mount(path=listed) if isinstance(listed, str) else listed
    if mount.optional and host.find(mount.path) is None:
        return []
    options = ["rw" if mount.writable else "ro", "nosuid", "nodev", "bind"]
    inside = mount.inside or mount.path
    return [{"hostPath": host.on_host(mount.path), "containerPath": inside, "options": options}]


def _environment(
    listed: Mapping[str, str | Variable], grants: Sequence[Grant], values: Sequence[Mapping[str, str]]
) -> Iterable[str]:
    for name, entry in listed.items():
        variable = Variable(value=entry) if isinstance(entry, str) else entry
        parts: dict[str, list[str]] = {}
        for grant, known in zip(grants, values, strict=True):
            text = template.fill_or_nothing(variable.value, known)
            if text and _applies(variable.when, _whole(grant)):
                parts.setdefault(template.fill(name, known), []).append(text)
        for filled, texts in parts.items():
            yield f"{filled}={variable.join.join(dict.fromkeys(texts))}"
