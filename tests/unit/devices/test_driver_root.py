"""Driver files are found below the driver root, wherever it is mounted for us."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from hami_dra.devices import nvidia_edits
from hami_dra.devices.backend import ClaimEdits
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.nvidia import NvidiaBackend
from hami_dra.devices.nvidia_topology import bus_id
from hami_dra.model.errors import DriverError
from hami_dra.model.share import Share
from tests.support.cards import A10


@pytest.fixture
def root(tmp_path: Path) -> DriverRoot:
    """A driver container's root, seen here at tmp_path and by the runtime at /run/nvidia/driver."""
    folder = tmp_path / "usr/lib/x86_64-linux-gnu"
    folder.mkdir(parents=True)
    (folder / "libcuda.so.550.144.03").write_text("cuda")
    (folder / "libcuda.so.1").symlink_to("libcuda.so.550.144.03")
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/smi").write_text("smi")
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/nvidia-smi").symlink_to("/opt/smi")
    (tmp_path / "dev").mkdir()
    for node in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / node).touch()
    return DriverRoot(tmp_path, Path("/run/nvidia/driver"))


def test_links_are_followed_inside_the_root_and_named_as_the_host_does(root: DriverRoot) -> None:
    cuda, smi = root.library("libcuda.so.1"), root.program("nvidia-smi")
    assert cuda is not None
    assert smi is not None
    assert root.on_host(cuda) == "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libcuda.so.550.144.03"
    assert root.on_host(smi) == "/run/nvidia/driver/opt/smi"


def test_a_link_that_leads_to_itself_is_no_file(root: DriverRoot) -> None:
    (root.path / "usr/bin/nvidia-debugdump").symlink_to("nvidia-debugdump")
    assert root.program("nvidia-debugdump") is None


def test_a_missing_driver_is_one_line_with_where_and_how_to_fix(tmp_path: Path) -> None:
    backend = NvidiaBackend(DriverRoot(tmp_path, Path("/run/nvidia/driver")))
    with pytest.raises(DriverError) as caught:
        backend.discover()
    text = str(caught.value)
    assert "below /run/nvidia/driver" in text
    assert "containerDriver" in text
    assert "\n" not in text


def test_a_broken_driver_library_is_a_driver_error(tmp_path: Path) -> None:
    library = tmp_path / "usr/lib64/libnvidia-ml.so.1"
    library.parent.mkdir(parents=True)
    library.write_text("not a library")
    with pytest.raises(DriverError, match="does not start"):
        NvidiaBackend(DriverRoot(tmp_path, tmp_path)).discover()


def test_a_root_that_does_not_answer_is_a_driver_error(tmp_path: Path) -> None:
    """As a stale mount. Here it is one whose name is too long for the kernel."""
    unreadable = DriverRoot(tmp_path / ("x" * 300), Path("/run/nvidia/driver"))
    with pytest.raises(DriverError, match=r"/run/nvidia/driver does not answer: .*too long"):
        NvidiaBackend(unreadable).discover()


def test_without_a_toolkit_the_container_gets_libraries_where_both_families_of_images_look(
    root: DriverRoot,
) -> None:
    mounts = {mount["containerPath"]: mount["hostPath"] for mount in nvidia_edits.common(root)["mounts"]}
    cuda = "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libcuda.so.550.144.03"
    assert mounts.pop("/usr/bin/nvidia-smi") == "/run/nvidia/driver/opt/smi"
    folders = ("/usr/lib64", f"/usr/lib/{platform.machine()}-linux-gnu")
    assert mounts == {
        f"{folder}/{name}": cuda for folder in folders for name in ("libcuda.so.1", "libcuda.so")
    }
    assert nvidia_edits.device(root, 0) == {
        "deviceNodes": [{"path": "/dev/nvidia0", "hostPath": "/run/nvidia/driver/dev/nvidia0"}]
    }


@pytest.mark.parametrize("toolkit", [True, False], ids=["toolkit", "no toolkit"])
def test_nvidias_own_runtime_adds_no_other_card(root: DriverRoot, tmp_path: Path, toolkit: bool) -> None:
    """Images of CUDA ask it for all cards, and where it is the default runtime it would give them."""
    if toolkit:
        vendor = {"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": A10.uuid}]}
        (tmp_path / "nvidia.json").write_text(json.dumps(vendor))
    share = Share("one", "gpu", "node", A10.name, A10.uuid, {})
    edits = NvidiaBackend(root, cdi=[tmp_path]).edits([(A10, share)])
    assert bool(edits.vendor) == toolkit
    assert "NVIDIA_VISIBLE_DEVICES=void" in edits.common["env"]


def test_without_a_toolkit_triton_finds_the_driver_that_no_ldconfig_knows(root: DriverRoot) -> None:
    """As in torch.compile: Triton links with libcuda.so in a folder that this variable names."""
    common = NvidiaBackend(root).edits([(A10, Share("one", "gpu", "node", A10.name, A10.uuid, {}))]).common
    (folder,) = (text.partition("=")[2] for text in common["env"] if text.startswith("TRITON_LIBCUDA_PATH="))
    assert f"{folder}/libcuda.so" in {mount["containerPath"] for mount in common["mounts"]}


@pytest.mark.parametrize("node", ["nvidia0", "nvidiactl", "nvidia-uvm"])
def test_without_a_node_that_the_driver_has_not_made_yet_no_container_starts(
    root: DriverRoot, node: str
) -> None:
    (root.path / "dev" / node).unlink()
    with pytest.raises(DriverError, match=f"the host has no /dev/{node}, .*nvidia-modprobe"):
        ClaimEdits(nvidia_edits.common(root), {"share": nvidia_edits.device(root, 0)})


@pytest.mark.parametrize(
    ("nvml", "kernel"), [("00000000:65:01.0", "0000:65:01.0"), ("0000FFFF:0A:00.0", "ffff:0a:00.0")]
)
def test_bus_ids_are_written_as_the_kernel_does(nvml: str, kernel: str) -> None:
    assert bus_id(nvml) == kernel


def test_a_driver_in_a_folder_of_its_own_is_found_as_gke_lays_it_out(tmp_path: Path) -> None:
    for file in ("lib64/libcuda.so.1", "bin/nvidia-smi"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
    mounts = nvidia_edits.common(DriverRoot(tmp_path, Path("/home/kubernetes/bin/nvidia")))["mounts"]
    assert {mount["hostPath"] for mount in mounts} == {
        "/home/kubernetes/bin/nvidia/lib64/libcuda.so.1",
        "/home/kubernetes/bin/nvidia/bin/nvidia-smi",
    }
