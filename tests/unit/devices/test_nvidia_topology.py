"""Where a card sits and what it is linked to: what NVML and sysfs say, and nothing where they are silent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from hami_dra.devices.nvidia_topology import attributes

PCI = "0000:65:01.0"
ADDRESS = "resource.kubernetes.io/pciBusID"


class Nvml:
    """A card with NVLinks to these addresses (None: a link that is down)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, links: list[str | None]) -> None:
        def state(_handle: Any, link: int) -> int:
            if link >= len(links):
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return int(links[link] is not None)

        def remote(_handle: Any, link: int) -> Any:
            return SimpleNamespace(busId=links[link])

        def refuse(_handle: Any) -> Any:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

        monkeypatch.setattr(pynvml, "nvmlDeviceGetNvLinkState", state)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetNvLinkRemotePciInfo", remote)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetNumaNodeId", refuse)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetMigMode", refuse)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetSerial", lambda _handle: "1320221003456")


def sysfs(folder: Path, node: int) -> list[Path]:
    entry = folder / "bus/pci/devices" / PCI
    entry.mkdir(parents=True)
    (entry / "numa_node").write_text(f"{node}\n")
    return [folder]


def test_a_plain_card_has_its_address_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Nvml(monkeypatch, [])
    assert attributes("h", PCI, [tmp_path], serial=False) == {ADDRESS: PCI}
    assert attributes("h", PCI, sysfs(tmp_path, -1), serial=False) == {ADDRESS: PCI}


def test_the_kernel_says_the_numa_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Nvml(monkeypatch, [])
    for node in (0, 1):
        found = attributes("h", PCI, sysfs(tmp_path / str(node), node), serial=False)
        assert found["numaNode"] == node


def test_the_serial_number_is_published_on_request_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Nvml(monkeypatch, [])
    assert attributes("h", PCI, [tmp_path], serial=True)["serial"] == "1320221003456"


def test_peers_are_named_once_and_links_that_are_down_do_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Nvml(monkeypatch, ["00000000:67:01.0", None, "00000000:66:01.0", "00000000:66:01.0"])
    assert attributes("h", PCI, [tmp_path], serial=False)["nvlinkPeers"] == "66:01.0,67:01.0"


def test_a_fabric_of_many_switches_still_fits_an_attribute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Nvml(monkeypatch, [f"00010000:{at:02x}:00.0" for at in range(16, 34)])
    peers = attributes("h", PCI, [tmp_path], serial=False)["nvlinkPeers"]
    assert isinstance(peers, str)
    assert len(peers) <= 64
