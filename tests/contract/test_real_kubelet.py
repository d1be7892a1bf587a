"""kubelet's own plugin manager and DRA manager, with our plugin on the other end of the sockets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from hami_dra.kube import NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES, Client
from hami_dra.node.cdi import kind
from tests.contract.conftest import Spawn, held_up
from tests.support import control_plane
from tests.support.cards import DRIVER, NODE, claim, share
from tests.support.real_kubelet import RealKubelet
from tests.support.waiting import until

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0
FIRST, SECOND, THIRD = (f"{number:08}-0000-0000-0000-000000000000" for number in (1, 2, 3))
"""Uids of the plugins' Pods."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control_plane.ControlPlane]:
    """A real API server that knows the Node."""
    with control_plane.api_server(tmp_path_factory.mktemp("api")) as plane:
        plane.client.create(NODES, {"metadata": {"name": NODE}})
        yield plane


@pytest.fixture
def kube(api: control_plane.ControlPlane, folder: Path) -> Iterator[Client]:
    """Its client, for as long as a plugin and a kubelet work below FOLDER; what they leave is deleted."""
    (folder / "kubeconfig").write_bytes(api.kubeconfig.read_bytes())
    yield api.client
    for left in (PODS, RESOURCE_CLAIMS, RESOURCE_SLICES):
        for item in api.client.list(left)[0]:
            where = left.path(item["metadata"].get("namespace"), item["metadata"]["name"])
            api.ask("DELETE", where, {"gracePeriodSeconds": 0})


@pytest.fixture
def kubelet(kube: Client, folder: Path) -> Iterator[RealKubelet]:
    one = RealKubelet(folder, NODE)
    yield one
    one.close()


def pod(kube: Client, name: str, *shares: dict[str, Any]) -> list[str]:
    """A Pod on the node with a claim that is allocated and reserved for it; the CDI names it must get.

    The claim is one of a template: before 1.36, kubelet tells the health of no others; 1.34 only of those
    that are called as in the Pod.
    """
    container = {"name": "c", "image": "none", "resources": {"claims": [{"name": name}]}}
    spec = {
        "nodeName": NODE,
        "containers": [container],
        "resourceClaims": [{"name": name, "resourceClaimTemplateName": "template"}],
    }
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    user = kube.create(PODS, body, "default")["metadata"]
    made_for_it = {"resourceClaimStatuses": [{"name": name, "resourceClaimName": name}]}
    kube.patch(PODS, name, {"status": made_for_it}, "default", subresource="status")
    asked = claim(name, *shares)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": user["uid"], "controller": True}
    asked["metadata"]["ownerReferences"] = [owner]
    status = asked.pop("status") | {"reservedFor": [{"resource": "pods", "name": name, "uid": user["uid"]}]}
    kube.create(RESOURCE_CLAIMS, asked, "default")
    made = kube.patch(RESOURCE_CLAIMS, name, {"status": status}, "default", subresource="status")
    claimed = f"{kind(DRIVER)}={made['metadata']['uid']}"
    return [f"{claimed}-{each['device']}-{each['shareID']}" for each in shares]


def registrations(folder: Path) -> int:
    """That plugins have heard of."""
    return (folder / "log").read_text().count("registered with kubelet")


def files(folder: Path) -> list[Path]:
    return [*(folder / "cdi").glob("*"), *(folder / "state" / "shares").glob("*")]


def test_kubelet_gets_the_cdi_names_of_each_share_and_gives_them_back(
    kube: Client, kubelet: RealKubelet, spawn: Spawn, folder: Path
) -> None:
    spawn(FIRST)
    wanted = pod(kube, "user", share("1Gi", "10"), share("2Gi", "20", "hami-gpu-1"))
    assert sorted(kubelet.does("prepare", "user")) == sorted(wanted)
    until(lambda: kubelet.ask("health", "user")[1] == ["Healthy"] * 2, "the health of both cards", PATIENCE_S)
    kubelet.does("unprepare", "user")
    assert files(folder) == []


def test_kubelet_tells_the_pod_why_a_claim_is_refused(
    kube: Client, kubelet: RealKubelet, spawn: Spawn
) -> None:
    spawn(FIRST)
    pod(kube, "first", share("20Gi", "10"))
    pod(kube, "second", share("20Gi", "10"))
    kubelet.does("prepare", "first")
    assert "hami-gpu-0 is given away more than once" in kubelet.ask("prepare", "second")[0]
    kubelet.does("unprepare", "first")
    assert kubelet.does("prepare", "second")


def test_kubelet_finds_a_plugin_that_was_killed_and_one_that_replaces_it(
    kube: Client, kubelet: RealKubelet, spawn: Spawn, folder: Path
) -> None:
    first = spawn(FIRST)
    for name in ("a", "b", "c"):
        pod(kube, name, share("1Gi", "5"))
    kubelet.does("prepare", "a")
    first.kill()
    first.wait()
    second = spawn(SECOND)
    kubelet.does("prepare", "b")
    third = spawn(THIRD)
    until(lambda: len(list((folder / "registry").iterdir())) == 2, "both plugins", PATIENCE_S)
    second.terminate()
    second.wait()
    kubelet.does("prepare", "c")
    for name in ("a", "b", "c"):
        kubelet.does("unprepare", name)
    assert third.poll() is None
    assert files(folder) == []


def test_kubelet_registers_a_plugin_again_that_was_killed_and_started_in_its_place(
    kube: Client, kubelet: RealKubelet, spawn: Spawn, folder: Path
) -> None:
    for times in (1, 2, 3):
        process = spawn(FIRST)
        until(lambda times=times: registrations(folder) == times, f"registration {times}", PATIENCE_S)
        process.kill()
        process.wait()
    spawn(FIRST)
    pod(kube, "user", share("1Gi", "5"))
    kubelet.does("prepare", "user")


def test_a_plugin_that_is_ended_in_the_middle_of_a_call_finishes_it(
    kube: Client, kubelet: RealKubelet, spawn: Spawn, folder: Path
) -> None:
    spawn(FIRST)
    pod(kube, "first", share("1Gi", "5"))
    kubelet.does("prepare", "first")
    newest = spawn(SECOND)
    until(lambda: registrations(folder) == 2, "both plugins", PATIENCE_S)
    pod(kube, "second", share("1Gi", "5"))
    with ThreadPoolExecutor() as pool, held_up(folder, newest) as waits:
        call = pool.submit(kubelet.ask, "prepare", "second")
        until(waits, "kubelet's call to reach the plugin that it prefers", PATIENCE_S)
        newest.terminate()
        wait([call], timeout=3)  # kubelet looks each second for registrations that are gone
        assert not call.done()
    assert call.result()[0] == ""
    newest.wait()
    kubelet.does("unprepare", "second")  # by the other
    assert len(list((folder / "cdi").iterdir())) == 1


@pytest.mark.parametrize("call", ["prepare", "unprepare"])
def test_a_kubelet_that_is_killed_in_the_middle_of_a_call_has_it_done_in_the_end(
    kube: Client, kubelet: RealKubelet, spawn: Spawn, folder: Path, call: str
) -> None:
    process = spawn(FIRST)
    until(lambda: registrations(folder) == 1, "registration", PATIENCE_S)
    wanted = pod(kube, "user", share("1Gi", "5"))
    if call == "unprepare":
        kubelet.does("prepare", "user")
    with ThreadPoolExecutor() as pool, held_up(folder, process) as waits:
        asked = pool.submit(kubelet.ask, call, "user")
        until(waits, "kubelet's call", PATIENCE_S)
        kubelet.end()
        assert asked.result()[0] == "kubelet ended"
    kubelet.restart()
    if call == "prepare":
        assert kubelet.does("prepare", "user") == wanted
        assert len(files(folder)) == 2
    kubelet.does("unprepare", "user")
    assert files(folder) == []
