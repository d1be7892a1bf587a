"""What kubelet sees of prepare and unprepare, in both versions of the API."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hami_dra.kube import RESOURCE_CLAIMS
from hami_dra.model import errors, ledger
from hami_dra.node.plugin import Config
from tests.contract.conftest import Add, Start
from tests.support.cards import A10, NODE, claim, share
from tests.support.fake_kube import FakeKube
from tests.support.kubelet import Kubelet

DRIVER = "hami-core-gpu.project-hami.io"


def cdi_spec(config: Config, body: dict[str, Any]) -> dict[str, Any]:
    path = config.cdi / f"k8s.{DRIVER}-claim_{body['metadata']['uid']}.yaml"
    spec: dict[str, Any] = json.loads(path.read_text())
    return spec


def uid_of(body: dict[str, Any]) -> str:
    return str(body["metadata"]["uid"])


def leftovers(config: Config) -> list[Path]:
    return [*config.cdi.glob("k8s.*"), *(config.state / "shares").glob("*")]


def test_registration_names_the_driver_and_both_versions_newest_first(kubelet: Kubelet) -> None:
    assert (kubelet.info.type, kubelet.info.name) == ("DRAPlugin", DRIVER)
    assert list(kubelet.info.supported_versions) == [
        "v1.DRAPlugin",
        "v1beta1.DRAPlugin",
        "v1.DRAResourceHealth",
        "v1alpha1.DRAResourceHealth",
    ]


def test_a_prepared_claim_answers_its_device_and_cdi_name(kubelet: Kubelet, add: Add) -> None:
    half = share()
    body = add(claim("half", half))
    answer = kubelet.prepare(body)[body["metadata"]["uid"]]
    assert answer.error == ""
    (device,) = answer.devices
    assert (list(device.request_names), device.pool_name, device.device_name) == (["gpu"], NODE, "hami-gpu-0")
    name = f"{body['metadata']['uid']}-hami-gpu-0-{half['shareID']}"
    assert list(device.cdi_device_ids) == [f"k8s.{DRIVER}/claim={name}"]
    if kubelet.version == "v1":
        assert device.share_id == half["shareID"]


def test_the_container_gets_its_limits_its_ledger_and_the_limiter(
    kubelet: Kubelet, config: Config, add: Add
) -> None:
    half = share(memory="10Gi", cores="50")
    body = add(claim("half", half))
    kubelet.prepare(body)
    spec = cdi_spec(config, body)
    (device,) = spec["devices"]
    edits = [spec["containerEdits"], device["containerEdits"]]
    mounts = {mount["containerPath"]: mount for edit in edits for mount in edit.get("mounts", [])}
    inside = f"/run/hami/shares/{half['shareID']}"
    assert {path: mount["options"][0] for path, mount in mounts.items()} == {
        "/usr/local/hami/libvgpu.so": "ro",
        "/etc/ld.so.preload": "ro",
        "/etc/ld-nix.so.preload": "ro",
        inside: "ro",
        f"{inside}/ledger": "rw",
    }
    limits = Path(mounts[inside]["hostPath"], "limits")
    assert dict(line.split("=") for line in limits.read_text().split()) == {
        "version": "1",
        "share": half["shareID"],
        "device": A10.uuid,
        "memory": "10737418240",
        "cores": "50",
        "priority": "1",
        "cores_policy": "hard",
        "oversubscribe": "0",
    }
    usage = Path(mounts[f"{inside}/ledger"]["hostPath"])
    assert usage.stat().st_size == ledger.SIZE
    assert usage.stat().st_mode & 0o777 == 0o666
    assert limits.stat().st_mode & 0o777 == 0o644
    assert Path(mounts["/etc/ld.so.preload"]["hostPath"]).read_text() == "/usr/local/hami/libvgpu.so\n"
    assert Path(mounts["/usr/local/hami/libvgpu.so"]["hostPath"]).read_bytes() == b"limiter 1"
    nodes = [node["path"] for edit in edits for node in edit.get("deviceNodes", [])]
    assert nodes == ["/dev/nvidiactl", "/dev/nvidia0"]


def test_the_toolkits_own_specification_is_used_where_there_is_one(
    kubelet: Kubelet, config: Config, add: Add
) -> None:
    vendor = {"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": A10.uuid}]}
    (config.cdi.parent / "etc-cdi/nvidia.yaml").write_text(json.dumps(vendor))
    body = add(claim("half", share()))
    (device,) = kubelet.prepare(body)[body["metadata"]["uid"]].devices
    assert device.cdi_device_ids[0] == f"nvidia.com/gpu={A10.uuid}"
    assert "deviceNodes" not in json.dumps(cdi_spec(config, body))


def test_preparing_again_rebuilds_everything_and_keeps_the_ledger(
    kubelet: Kubelet, config: Config, add: Add
) -> None:
    half = share()
    body = add(claim("half", half))
    first = kubelet.prepare(body)
    folder = config.state / "shares" / half["shareID"]
    with open(folder / "ledger", "r+b") as file:
        file.write(b"in use")
    inode = (folder / "ledger").stat().st_ino
    (folder / "limits").unlink()
    for path in config.cdi.iterdir():
        path.unlink()
    again = kubelet.prepare(body)
    assert {uid: str(answer) for uid, answer in again.items()} == {
        uid: str(answer) for uid, answer in first.items()
    }
    assert (folder / "limits").is_file()
    assert cdi_spec(config, body)
    assert (folder / "ledger").stat().st_ino == inode
    assert (folder / "ledger").read_bytes()[:6] == b"in use"


def test_unprepare_leaves_nothing_and_an_unknown_claim_is_fine(
    kubelet: Kubelet, config: Config, add: Add
) -> None:
    body = add(claim("half", share(), share(device="hami-gpu-1", request="gpu/small")))
    uid = body["metadata"]["uid"]
    assert [list(device.request_names) for device in kubelet.prepare(body)[uid].devices] == [["gpu"], ["gpu"]]
    assert len(leftovers(config)) == 3
    assert kubelet.unprepare(body)[uid].error == ""
    assert leftovers(config) == []
    assert kubelet.unprepare(body)[uid].error == ""


def test_two_shares_of_one_card_in_one_claim_are_two_cdi_devices(kubelet: Kubelet, add: Add) -> None:
    body = add(claim("two", share(memory="4Gi"), share(memory="5Gi")))
    devices = kubelet.prepare(body)[body["metadata"]["uid"]].devices
    assert len({tuple(device.cdi_device_ids) for device in devices}) == 2


def test_one_refused_claim_does_not_take_the_others_with_it(kubelet: Kubelet, add: Add) -> None:
    good, bad = add(claim("good", share())), add(claim("bad"))
    answers = kubelet.prepare(good, bad)
    assert answers[good["metadata"]["uid"]].error == ""
    assert "is not allocated" in answers[bad["metadata"]["uid"]].error
    assert not answers[bad["metadata"]["uid"]].devices


@pytest.mark.parametrize("field", ["uid", "name", "namespace"])
def test_what_would_lead_out_of_our_folders_is_refused(kubelet: Kubelet, config: Config, field: str) -> None:
    body = claim("half", share())
    body["metadata"][field] = "../../x"
    uid = uid_of(body)
    assert "is no name of an object" in kubelet.prepare(body)[uid].error
    assert "is no name of an object" in kubelet.unprepare(body)[uid].error
    assert leftovers(config) == []


def test_an_empty_prepare_answers_at_once(kubelet: Kubelet, kube: FakeKube) -> None:
    before = len(kube.calls)
    assert dict(kubelet.prepare()) == {}
    assert ("get", "resourceclaims", "") not in kube.calls[before:]


def test_a_card_given_away_twice_is_refused_and_freed_by_unprepare(kubelet: Kubelet, add: Add) -> None:
    first, second = add(claim("first", share("12Gi", "10"))), add(claim("second", share("12Gi", "10")))
    uid = second["metadata"]["uid"]
    assert kubelet.prepare(first)[first["metadata"]["uid"]].error == ""
    refused = "hami-gpu-0 is given away more than once: with this claim 24Gi of 23028Mi memory"
    assert refused in kubelet.prepare(second)[uid].error
    kubelet.unprepare(first)
    assert kubelet.prepare(second)[uid].error == ""


def test_a_claim_of_the_same_name_and_another_uid_is_refused(
    kubelet: Kubelet, add: Add, kube: FakeKube
) -> None:
    old = add(claim("half", share()))
    kube.delete(RESOURCE_CLAIMS, "half", "default")
    add(claim("half", share()))
    assert "is gone" in kubelet.prepare(old)[old["metadata"]["uid"]].error


def test_an_api_server_that_is_away_is_told_to_kubelet_and_not_granted(
    kubelet: Kubelet, add: Add, kube: FakeKube, config: Config
) -> None:
    body = add(claim("half", share()))
    kube.fail_next = [errors.Unavailable("connection refused")] * 8
    answers = []
    while kube.fail_next:
        answers.append(kubelet.prepare(body)[body["metadata"]["uid"]])
    assert any("connection refused" in answer.error for answer in answers)
    assert kubelet.prepare(body)[body["metadata"]["uid"]].error == ""


@pytest.mark.parametrize("missing", ["shareID", "consumedCapacity"])
def test_without_the_feature_gate_the_message_names_it(kubelet: Kubelet, add: Add, missing: str) -> None:
    body = add(claim("half", {key: value for key, value in share().items() if key != missing}))
    assert "DRAConsumableCapacity" in kubelet.prepare(body)[body["metadata"]["uid"]].error


def test_a_new_limiter_is_put_beside_the_old_one(
    start: Start, config: Config, folder: Path, add: Add
) -> None:
    start().stop()
    (folder / "libvgpu.so").write_bytes(b"limiter 2")
    start()
    found = {path.read_bytes() for path in (config.state / "lib").glob("libvgpu.so.*")}
    assert found == {b"limiter 1", b"limiter 2"}


def test_of_many_claims_prepared_at_once_exactly_those_that_fit_are_granted(
    kubelet: Kubelet, config: Config, add: Add
) -> None:
    bodies = [add(claim(f"c{at}", share(memory="1Gi", cores="10"))) for at in range(24)]
    with ThreadPoolExecutor(max_workers=12) as pool:
        answers = list(pool.map(kubelet.prepare, bodies))
    refused = [body for body, answer in zip(bodies, answers, strict=True) if answer[uid_of(body)].error]
    assert len(refused) == 14
    with ThreadPoolExecutor(max_workers=12) as pool:
        list(pool.map(kubelet.unprepare, bodies))
    assert leftovers(config) == []
