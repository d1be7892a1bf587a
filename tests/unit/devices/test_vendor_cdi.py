"""The toolkit's CDI device of a card is found by UUID, or by a number whose device node agrees."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from hami_dra.devices.vendor_cdi import VendorCdi
from tests.support.cards import A10, SECOND


def write(path: Path, kind: str, *devices: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump({"cdiVersion": "0.6.0", "kind": kind, "devices": list(devices)}))


def numbered(name: str, minor: int) -> dict[str, Any]:
    return {"name": name, "containerEdits": {"deviceNodes": [{"path": f"/dev/nvidia{minor}"}]}}


def test_the_uuid_is_preferred_and_other_kinds_do_not_count(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "amd.com/gpu", {"name": A10.uuid})
    vendor = VendorCdi("nvidia.com/gpu", [tmp_path, tmp_path / "missing"])
    assert vendor.device_for(A10.uuid, 0, "/dev/nvidia0") is None
    write(tmp_path / "b.yaml", "nvidia.com/gpu", numbered("0", 0), {"name": A10.uuid})
    assert vendor.device_for(A10.uuid, 0, "/dev/nvidia0") == f"nvidia.com/gpu={A10.uuid}"


def test_an_index_that_is_another_cards_minor_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "nvidia.com/gpu", numbered("0", 1), numbered("1", 0))
    assert VendorCdi("nvidia.com/gpu", [tmp_path]).device_for(A10.uuid, 0, "/dev/nvidia0") is None
    write(tmp_path / "a.yaml", "nvidia.com/gpu", numbered("0", 0), numbered("1", 1))
    os.utime(tmp_path / "a.yaml", ns=(1, 1))
    assert (
        VendorCdi("nvidia.com/gpu", [tmp_path]).device_for(SECOND.uuid, 1, "/dev/nvidia1")
        == "nvidia.com/gpu=1"
    )


def test_a_specification_that_the_toolkit_rewrites_is_read_again(tmp_path: Path) -> None:
    vendor = VendorCdi("nvidia.com/gpu", [tmp_path])
    write(tmp_path / "a.yaml", "nvidia.com/gpu", {"name": A10.uuid})
    assert vendor.device_for(A10.uuid, 0, "/dev/nvidia0")
    write(tmp_path / "a.yaml", "nvidia.com/gpu", {"name": "all"})
    assert vendor.device_for(A10.uuid, 0, "/dev/nvidia0") is None


def test_a_broken_specification_of_someone_else_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(": {")
    (tmp_path / "b.json").write_text("[]")
    write(tmp_path / "c.yaml", "nvidia.com/gpu", {"name": A10.uuid})
    assert VendorCdi("nvidia.com/gpu", [tmp_path]).device_for(A10.uuid, 0, "/dev/nvidia0")


def test_what_kubelet_plugins_and_editors_leave_is_no_toolkits_specification(tmp_path: Path) -> None:
    """Plugins of Kubernetes write `k8s.*` for one claim each, ours too; files with a dot are half written."""
    for name in ("k8s.gpu.nvidia.com-claim_1.yaml", ".a.yaml", "a.yaml.tmp"):
        write(tmp_path / name, "nvidia.com/gpu", {"name": A10.uuid})
    vendor = VendorCdi("nvidia.com/gpu", [tmp_path])
    assert vendor.device_for(A10.uuid, 0, "/dev/nvidia0") is None
