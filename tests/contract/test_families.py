"""Several families in one process: each its own driver to kubelet, none in the way of another."""

from __future__ import annotations

import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from hami_dra.kube import RESOURCE_CLAIMS, RESOURCE_SLICES
from hami_dra.kube.kinds import EVENTS
from hami_dra.model.errors import DriverError, StateError
from hami_dra.node import process
from hami_dra.node.plugin import Config
from hami_dra.node.process import Process
from tests.contract.conftest import Add, KubeletOf, StartAll, specification
from tests.contract.test_left_overs import check
from tests.support import trees
from tests.support.cards import A10, NODE, CardBackend, claim, share
from tests.support.fake_kube import FakeKube
from tests.support.kubelet import Kubelet
from tests.support.ports import free_port
from tests.support.waiting import until

GPU = "hami-core-gpu.project-hami.io"
NPU = "ascend.project-hami.io"
AMD = "amd.project-hami.io"


def allocated(driver: str, device: str, **consumed: str) -> dict[str, Any]:
    return share(device=device) | {"driver": driver, "consumedCapacity": consumed}


def test_each_family_is_a_driver_with_a_pool_of_its_own(
    start_all: StartAll, kubelet_of: KubeletOf, kube: FakeKube
) -> None:
    start_all(CardBackend(A10), trees.backend("ascend"), trees.backend("amd"))
    until(lambda: len(kube.list(RESOURCE_SLICES)[0]) == 3)
    specs = [item["spec"] for item in kube.list(RESOURCE_SLICES)[0]]
    assert {(spec["driver"], spec["pool"]["name"], len(spec["devices"])) for spec in specs} == {
        (GPU, NODE, 1),
        (NPU, NODE, 8),
        (AMD, NODE, 4),
    }
    for driver in (GPU, NPU, AMD):
        assert kubelet_of(driver).info.name == driver


def test_half_an_npu_gets_its_nodes_mounts_and_environment(
    start_all: StartAll, kubelet_of: KubeletOf, config: Config, add: Add
) -> None:
    start_all(trees.backend("ascend", seen_as=Path("/run/tree")))
    npus = kubelet_of(NPU)
    body = add(claim("half", allocated(NPU, "ascend-2", memory="32Gi")))
    answer = npus.prepare(body)[body["metadata"]["uid"]]
    assert answer.error == ""
    (device,) = answer.devices
    assert device.device_name == "ascend-2"
    (name,) = device.cdi_device_ids
    assert name.startswith(f"k8s.{NPU}/claim={body['metadata']['uid']}-ascend-2-")
    edits = specification(config, NPU, body)["containerEdits"]
    assert edits["env"] == ["ASCEND_VISIBLE_DEVICES=2", "ASCEND_VNPU_SPECS=vir10_3c_32g"]
    assert {"path": "/dev/davinci_manager", "hostPath": "/run/tree/dev/davinci_manager"} in edits[
        "deviceNodes"
    ]
    assert all(mount["hostPath"].startswith("/run/tree/usr/local/") for mount in edits["mounts"])
    assert not (config.state / "shares").exists(), "our limiter has no part in this family"
    assert npus.unprepare(body)[body["metadata"]["uid"]].error == ""
    assert not list(config.cdi.iterdir())


def test_a_whole_device_is_told_to_kubelet_without_a_share(
    start_all: StartAll, kubelet_of: KubeletOf, add: Add
) -> None:
    start_all(CardBackend(replace(A10, shared=False)))
    result = {key: value for key, value in share().items() if key not in ("shareID", "consumedCapacity")}
    body = add(claim("whole", result))
    (device,) = kubelet_of(GPU).prepare(body)[body["metadata"]["uid"]].devices
    assert (device.device_name, device.HasField("share_id")) == (A10.name, False)


def test_one_claim_over_two_families_is_prepared_by_each_for_its_part(
    start_all: StartAll, kubelet_of: KubeletOf, config: Config, add: Add
) -> None:
    start_all(CardBackend(A10), trees.backend("ascend"))
    body = add(claim("both", share("10Gi", "50"), allocated(NPU, "ascend-0", memory="64Gi")))
    uid = body["metadata"]["uid"]
    gpus, npus = kubelet_of(GPU), kubelet_of(NPU)
    assert [device.device_name for device in gpus.prepare(body)[uid].devices] == ["hami-gpu-0"]
    assert [device.device_name for device in npus.prepare(body)[uid].devices] == ["ascend-0"]
    assert len(list(config.cdi.iterdir())) == 2
    gpus.unprepare(body)
    assert specification(config, NPU, body), "the other family's part stays"
    npus.unprepare(body)
    assert not list(config.cdi.iterdir())


def one_left(gpus: Kubelet, add: Add) -> dict[str, Any]:
    """The second of two prepared claims, of which the first has gone again."""
    gone, kept = (add(claim(name, allocated(AMD, "amd-128", cores="25", memory="1Gi"))) for name in "ab")
    gpus.prepare(gone, kept)
    gpus.unprepare(gone)
    return kept


def test_compute_units_stay_with_their_share_over_a_restart_and_a_reboot(
    start_all: StartAll, kubelet_of: KubeletOf, config: Config, add: Add
) -> None:
    first = start_all(trees.backend("amd"))
    kept = one_left(kubelet_of(AMD), add)
    before = specification(config, AMD, kept)
    assert "HSA_CU_MASK=0:76-151" in before["containerEdits"]["env"]
    first.stop()
    shutil.rmtree(config.cdi)
    start_all(trees.backend("amd"))
    assert specification(config, AMD, kept) == before
    gpus = kubelet_of(AMD)
    new = add(claim("c", allocated(AMD, "amd-128", cores="50", memory="1Gi")))
    gpus.prepare(new)
    assert "HSA_CU_MASK=0:152-303" in specification(config, AMD, new)["containerEdits"]["env"]


def test_a_damaged_checkpoint_gives_nobody_the_compute_units_of_a_running_container(
    start_all: StartAll, kubelet_of: KubeletOf, config: Config, add: Add
) -> None:
    first = start_all(trees.backend("amd"))
    kept = one_left(kubelet_of(AMD), add)
    first.stop()
    (config.state / "families" / AMD / "checkpoint.json").write_text("}")
    start_all(trees.backend("amd"))
    gpus = kubelet_of(AMD)
    gpus.prepare(kept)
    assert "HSA_CU_MASK=0:76-151" in specification(config, AMD, kept)["containerEdits"]["env"]


def test_metrics_of_all_families_stand_on_one_port(start_all: StartAll) -> None:
    port = free_port()
    start_all(trees.backend("amd"), trees.backend("ascend"), metrics_port=port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert 'device_type="AMD Instinct MI300X"' in text
    assert 'device_type="Ascend910B3"' in text
    assert "hami_node_slice_publishes_total" in text
    types = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types)), "a type that is told twice makes a scrape fail"


def test_a_refused_profile_is_told_on_the_node(config: Config, kube: FakeKube) -> None:
    one = Process(config, kube, [], refused=["acme.yaml: name: {number} is not known here"])
    one.start()
    until(lambda: kube.list(EVENTS)[0])
    (event,) = kube.list(EVENTS)[0]
    one.stop()
    assert (event["reason"], event["involvedObject"]["kind"]) == ("ProfileRefused", "Node")
    assert "{number} is not known here" in event["message"]


class SlowDriver(CardBackend):
    """Its driver answers from the second time on."""

    asked = 0

    def discover(self) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise DriverError("libnvidia-ml.so.1 is not below /")
        return super().discover()


def test_a_family_whose_driver_is_late_joins_later_and_keeps_nobody_waiting(
    start_all: StartAll, kubelet_of: KubeletOf, monkeypatch: pytest.MonkeyPatch, kube: FakeKube
) -> None:
    monkeypatch.setattr(process, "RETRY_S", 0.3)
    port = free_port()
    start_all(SlowDriver(A10), trees.backend("ascend"), health_port=port)
    kubelet_of(NPU)
    assert (check(port, "liveness"), check(port, "readiness")) == ("SERVING", "NOT_SERVING")
    kubelet_of(GPU)
    until(lambda: len(kube.list(RESOURCE_SLICES)[0]) == 2)
    until(lambda: check(port, "readiness") == "SERVING")


def test_a_late_family_whose_checkpoint_is_damaged_waits_for_the_api_server(
    start_all: StartAll,
    kubelet_of: KubeletOf,
    monkeypatch: pytest.MonkeyPatch,
    kube: FakeKube,
    config: Config,
) -> None:
    monkeypatch.setattr(process, "RETRY_S", 0.1)
    (config.state / "checkpoint.json").write_text("{")
    kube.fail_on = ("list", "resourceclaims", 3)
    start_all(SlowDriver(A10), trees.backend("ascend"))
    kubelet_of(NPU)
    kubelet_of(GPU)


def test_a_late_family_that_cannot_serve_ends_the_process_for_another_to_come(
    start_all: StartAll, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    monkeypatch.setattr(process, "RETRY_S", 0.1)
    (config.plugins / GPU).write_text("no folder")
    one = start_all(SlowDriver(A10), trees.backend("ascend"))
    with pytest.raises(StateError, match="families"):
        ThreadPoolExecutor(1).submit(one.wait).result(timeout=60)


def test_prepared_claims_are_counted_by_family(start_all: StartAll, kubelet_of: KubeletOf, add: Add) -> None:
    start_all(CardBackend(A10), trees.backend("ascend"))
    body = add(claim("half", share()))
    kubelet_of(GPU).prepare(body)

    def count(driver: str) -> float | None:
        return REGISTRY.get_sample_value("hami_node_prepared_claims", {"driver": driver})

    assert (count(GPU), count(NPU)) == (1, 0)


def test_parameters_for_a_family_that_has_none_are_refused(
    start_all: StartAll, kubelet_of: KubeletOf, config: Config, add: Add
) -> None:
    start_all(trees.backend("ascend"))
    npus = kubelet_of(NPU)
    body = claim("half", allocated(NPU, "ascend-2", memory="32Gi"))
    opaque = {"driver": NPU, "parameters": {"kind": "ShareParameters"}}
    body["status"]["allocation"]["devices"]["config"] = [{"source": "FromClaim", "opaque": opaque}]
    body = add(body)
    assert "which knows none" in npus.prepare(body)[body["metadata"]["uid"]].error


def test_a_size_that_is_no_template_is_refused(start_all: StartAll, kubelet_of: KubeletOf, add: Add) -> None:
    start_all(trees.backend("ascend"))
    npus = kubelet_of(NPU)
    body = add(claim("odd", allocated(NPU, "ascend-2", memory="20Gi")))
    assert "consumedCapacity.memory is" in npus.prepare(body)[body["metadata"]["uid"]].error


def test_what_a_lost_claim_left_is_swept_in_its_family_alone(
    start_all: StartAll, kubelet_of: KubeletOf, config: Config, add: Add, kube: FakeKube
) -> None:
    first = start_all(CardBackend(A10), trees.backend("ascend"))
    gpus, npus = kubelet_of(GPU), kubelet_of(NPU)
    mine, theirs = (
        add(claim("mine", share())),
        add(claim("theirs", allocated(NPU, "ascend-0", memory="64Gi"))),
    )
    gpus.prepare(mine)
    npus.prepare(theirs)
    first.stop()
    kube.delete(RESOURCE_CLAIMS, "theirs", "default")
    start_all(CardBackend(A10), trees.backend("ascend"))
    until(lambda: len(list(config.cdi.iterdir())) == 1)
    assert specification(config, GPU, mine)
