"""Families by profile on simulated hosts: what is published, and what a container gets for a share."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hami_dra.devices import template
from hami_dra.devices.backend import ClaimEdits, Grant
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.generic import GenericBackend
from hami_dra.devices.generic_edits import ranges
from hami_dra.devices.host import Host
from hami_dra.model.device import Device, Version
from hami_dra.model.errors import DriverError
from hami_dra.model.share import Share
from tests.support import trees

GI = 1 << 30


def share(device: Device, units: dict[str, tuple[int, ...]] | None = None, **consumed: int) -> Grant:
    return device, Share(f"id-{device.name}", "r", "node", device.name, device.uuid, consumed, units or {})


def nodes(edits: ClaimEdits) -> list[str]:
    every = [edits.common, *edits.shares.values()]
    return [node["path"] for each in every for node in each.get("deviceNodes", [])]


def environment(edits: ClaimEdits) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in edits.common["env"])


def test_half_an_ascend_is_a_template_and_no_node_of_the_whole_chip() -> None:
    backend = trees.backend("ascend")
    npus = backend.discover()
    edits = backend.edits([share(npus[2], memory=32 * GI)])
    assert environment(edits) == {"ASCEND_VISIBLE_DEVICES": "2", "ASCEND_VNPU_SPECS": "vir10_3c_32g"}
    assert nodes(edits) == ["/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"]
    assert {mount["containerPath"] for mount in edits.common["mounts"]} == {
        "/usr/local/Ascend/driver/lib64",
        "/usr/local/Ascend/driver/version.info",
        "/usr/local/bin/npu-smi",
    }


def test_whole_ascends_get_their_nodes_and_no_template() -> None:
    backend = trees.backend("ascend")
    npus = backend.discover()
    edits = backend.edits([share(npus[3], memory=64 * GI), share(npus[1], memory=64 * GI)])
    assert environment(edits) == {"ASCEND_VISIBLE_DEVICES": "1,3"}
    assert {"/dev/davinci1", "/dev/davinci3"} < set(nodes(edits))
    (sizes,) = npus[0].capacities
    assert [size // GI for size in sizes.values] == [16, 32, 64]


def test_half_an_mi300x_is_half_of_its_compute_units() -> None:
    backend = trees.backend("amd")
    gpu = backend.discover()[1]
    half = share(gpu, {"cores": tuple(range(152, 304))}, cores=50, memory=96 * GI)
    assert environment(backend.edits([half])) == {
        "ROCR_VISIBLE_DEVICES": gpu.uuid,
        "HSA_CU_MASK": "0:152-303",
        "HIP_DEVICE_MEMORY_LIMIT_0": "98304m",
    }
    assert nodes(backend.edits([half])) == ["/dev/kfd", "/dev/dri/renderD136"]


def test_a_share_without_cores_has_no_mask() -> None:
    backend = trees.backend("amd")
    gpu = backend.discover()[0]
    edits = backend.edits([share(gpu, {"cores": ()}, cores=0, memory=GI)])
    assert "HSA_CU_MASK" not in environment(edits)


def test_devices_of_one_claim_are_numbered_in_the_hosts_order() -> None:
    backend = trees.backend("amd")
    gpus = backend.discover()
    edits = backend.edits(
        [
            share(gpus[2], {"cores": (7,)}, cores=1, memory=GI),
            share(gpus[0], {"cores": (3, 4)}, cores=1, memory=GI),
        ]
    )
    assert environment(edits)["HSA_CU_MASK"] == "0:3-4;1:7"
    assert environment(edits)["ROCR_VISIBLE_DEVICES"] == f"{gpus[0].uuid},{gpus[2].uuid}"


def test_neuron_cores_are_numbered_from_0_inside_the_container() -> None:
    backend = trees.backend("neuron")
    devices = backend.discover()
    edits = backend.edits(
        [share(devices[5], {"cores": (1,)}, cores=1), share(devices[6], {"cores": (0, 1)}, cores=2)]
    )
    assert environment(edits)["NEURON_RT_VISIBLE_CORES"] == "1,2-3"
    first = edits.shares["neuron-5-id-neuron-5"]["deviceNodes"]
    assert first == [{"path": "/dev/neuron0", "hostPath": "/dev/neuron5"}]


def test_a_tree_is_named_as_the_container_runtime_sees_it() -> None:
    backend = trees.backend("ascend", seen_as=Path("/run/hami-tree"))
    npu = backend.discover()[0]
    edits = backend.edits([share(npu, memory=64 * GI)])
    assert edits.shares["ascend-0-id-ascend-0"]["deviceNodes"] == [
        {"path": "/dev/davinci0", "hostPath": "/run/hami-tree/dev/davinci0"}
    ]
    assert all(mount["hostPath"].startswith("/run/hami-tree/") for mount in edits.common["mounts"])


def test_memory_of_cards_whose_program_tells_it_is_shared_in_the_sizes_there_are() -> None:
    xpu = trees.backend("kunlunxin").discover()[0]
    assert [size // GI for size in xpu.capacities[0].values] == [24, 48, 96]
    assert xpu.attributes["productName"] == "Kunlunxin P800 OAM"
    metax = trees.backend("metax").discover()[0]
    assert {each.name: each.value for each in metax.capacities} == {"cores": 100, "memory": 64 * GI}


def test_cards_that_only_a_program_knows_are_found_in_what_it_says() -> None:
    cards = trees.backend("iluvatar").discover()
    assert [card.uuid for card in cards] == [
        f"GPU-1d8f4a52-6f47-5a8e-8d5c-00000000000{number}" for number in range(2)
    ]
    assert {each.name: each.value for each in cards[1].capacities} == {"cores": 100, "memory": 32 * GI}


def test_attributes_have_the_types_that_claims_compare_them_by() -> None:
    gpu = trees.backend("amd").discover()[0]
    assert gpu.attributes["driverVersion"] == Version("6.8.5")
    assert (gpu.attributes["numaNode"], gpu.attributes["pciBusID"]) == (0, "0000:05:00.0")


def test_a_device_node_that_went_away_stops_the_prepare_with_its_name(tmp_path: Path) -> None:
    tree = trees.copy_of(trees.OTHERS, tmp_path)
    backend = trees.backend("kunlunxin", tree)
    xpu = backend.discover()[0]
    (tree / "dev/xpuctrl").unlink()
    with pytest.raises(DriverError, match=r"/dev/xpuctrl is not on the host"):
        backend.edits([share(xpu, memory=96 * GI)])


def test_a_model_that_the_profile_does_not_know_is_left_out_and_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = trees.copy_of(trees.OTHERS, tmp_path)
    (tree / "sys/bus/pci/devices/0000:20:00.0/device").write_text("0x9999\n")
    backend = trees.backend("enflame", tree)
    for _ in range(2):
        assert [device.name for device in backend.discover()] == ["gcu-1"]
    assert capsys.readouterr().out.count("model '0x9999' is not in models.table") == 1


def test_a_profile_may_name_which_products_of_a_vendor_are_its_devices(tmp_path: Path) -> None:
    """Others take no number either."""
    tree = trees.copy_of(trees.OTHERS, tmp_path)
    (tree / "sys/bus/pci/devices/0000:20:00.0/device").write_text("0x9999\n")
    backend = trees.backend("enflame", tree)
    how = backend.profile.discover
    assert how.pci is not None
    pci = replace(how.pci, device=["0x8001"])
    backend.profile = replace(backend.profile, discover=replace(how, pci=pci))
    (device,) = backend.discover()
    assert (device.name, device.attributes["pciBusID"]) == ("gcu-0", "0000:21:00.0")


def test_a_program_that_says_nothing_leaves_its_devices_out(tmp_path: Path) -> None:
    tree = trees.copy_of(trees.MIXED, tmp_path)
    (tree / "usr/local/bin/npu-smi").write_text("#!/bin/sh\nexit 1\n")
    assert trees.backend("ascend", tree).discover() == []


def test_a_sick_device_is_told_with_what_its_check_said(tmp_path: Path) -> None:
    tree = trees.copy_of(trees.MIXED, tmp_path)
    script = (tree / "usr/local/bin/npu-smi").read_text()
    (tree / "usr/local/bin/npu-smi").write_text(script.replace(": OK", ": Alarm"))
    backend = trees.backend("ascend", tree)
    (first, *others) = backend.health(backend.discover())
    assert (first.device, first.key, first.fatal, len(others)) == ("ascend-0", "not-ok", True, 7)
    assert "Alarm" in first.message
    gpus = trees.backend("amd", tree)
    found = gpus.discover()
    (tree / "sys/bus/pci/devices/0000:25:00.0/vendor").unlink()
    (problem,) = gpus.health(found)
    assert (problem.device, problem.key) == ("amd-136", "lost")


def test_use_is_read_in_bytes_and_parts_of_one() -> None:
    gpus = trees.backend("amd")
    assert [(use.memory, use.compute) for use in gpus.usage(gpus.discover())][:2] == [
        (300000000, 0.0),
        (300000000, 0.1),
    ]
    xpus = trees.backend("kunlunxin")
    assert [(use.memory, use.compute) for use in xpus.usage(xpus.discover())] == [(512 << 20, 0.25), (0, 0.0)]
    cards = trees.backend("metax")
    assert [use.memory for use in cards.usage(cards.discover())] == [879104 << 10] * 2


def test_a_programs_answer_counts_for_a_while(tmp_path: Path) -> None:
    tree = trees.copy_of(trees.MIXED, tmp_path)
    slow = trees.backend("ascend", tree)
    host: Any = slow._host
    patient = GenericBackend(slow.profile, Host(host.root, simulated=True, ttl_s=60))
    assert len(patient.discover()) == 8
    (tree / "usr/local/bin/npu-smi").unlink()
    assert len(patient.discover()) == 8
    assert slow.discover() == []


def test_numbers_are_written_as_ranges() -> None:
    assert ranges([5, 0, 1, 2, 9, 10]) == "0-2,5,9-10"
    assert ranges([]) == ""


def test_braces_without_a_name_stay() -> None:
    assert template.fill(r"\d{4} {a} {b.mib}", {"a": "x", "b.mib": "y"}) == r"\d{4} x y"
    assert template.fill_or_nothing("{a}:{b}", {"a": "x", "b": ""}) == ""


def test_a_program_of_the_host_runs_in_the_hosts_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/tool").write_text("")
    started: list[list[str]] = []

    def run(argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        started.append(argv)
        return subprocess.CompletedProcess(argv, 0, stdout="said")

    monkeypatch.setattr(subprocess, "run", run)
    assert Host(DriverRoot(tmp_path, Path("/"))).run(("tool", "-q")) == "said"
    assert started == [["chroot", str(tmp_path), "/usr/bin/tool", "-q"]]
    assert Host(DriverRoot(tmp_path, tmp_path), simulated=True).run(("tool", "-q")) == "said"
    assert started[1] == [str(tmp_path / "usr/bin/tool"), "-q"]
