"""Where an NVIDIA card sits and what it is linked to, for claims that want cards close to each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pynvml

from hami_dra.devices import nvml
from hami_dra.model.device import Attribute

MOST_LINKS = 18  # NVML_NVLINK_MAX_LINKS
MOST_CHARACTERS = 64  # DeviceAttributeMaxValueLength of resource.k8s.io


def attributes(handle: Any, pci: str, sysfs: Sequence[Path], *, serial: bool) -> dict[str, Attribute]:
    """PCI: the kernel's address. SYSFS: folders to look for the PCI tree in. SERIAL: publish that too."""
    found: dict[str, Attribute | None] = {
        "resource.kubernetes.io/pciBusID": pci,
        "resource.kubernetes.io/pcieRoot": _pcie_root(pci, sysfs),
        "numaNode": _numa_node(handle, pci, sysfs),
        "nvlinkPeers": _peers(handle) or None,
        "migMode": _mig_mode(handle),
        "serial": _serial(handle) if serial else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _pcie_root(pci: str, sysfs: Sequence[Path]) -> str | None:
    """The first `pciXXXX:YY` of the device's real path in sysfs (KEP-4381), None where it has none."""
    for folder in sysfs:
        entry = folder / "bus/pci/devices" / pci
        if entry.exists():
            parts = entry.resolve().parts
            return next((part for part in parts if part.startswith("pci") and ":" in part), None)
    return None


def _numa_node(handle: Any, pci: str, sysfs: Sequence[Path]) -> int | None:
    """The node whose memory and processors are near; the kernel says -1 where there is only one."""
    for folder in sysfs:
        file = folder / "bus/pci/devices" / pci / "numa_node"
        if file.is_file():
            node = int(file.read_text())
            return node if node >= 0 else None
    try:
        return int(pynvml.nvmlDeviceGetNumaNodeId(handle))
    except pynvml.NVMLError:
        return None


def _peers(handle: Any) -> str:
    """PCI addresses (without domain 0000:) of what active NVLinks lead to: cards, or a fabric's switches.

    As many as an attribute holds: one that is too long would have the whole slice refused.
    """
    found = sorted({address.removeprefix("0000:") for address in _links(handle)})
    while len(",".join(found)) > MOST_CHARACTERS:
        found.pop()
    return ",".join(found)


def _links(handle: Any) -> Iterator[str]:
    for link in range(MOST_LINKS):
        try:
            if pynvml.nvmlDeviceGetNvLinkState(handle, link):
                yield bus_id(nvml.text(pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link).busId))
        except pynvml.NVMLError:  # no such link, or a card without NVLink
            return


def _mig_mode(handle: Any) -> str | None:
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:  # not a card that can be cut
        return None
    return "enabled" if current == pynvml.NVML_DEVICE_MIG_ENABLE else "disabled"


def _serial(handle: Any) -> str | None:
    try:
        return nvml.text(pynvml.nvmlDeviceGetSerial(handle))
    except pynvml.NVMLError:
        return None


def bus_id(nvml: str) -> str:
    """NVML's 00000000:65:01.0 as the kernel writes it: 0000:65:01.0, lower case."""
    domain, _, rest = nvml.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"
