"""The plugin as a process that is killed, replaced and stopped, under a kubelet that goes on asking."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from hami_dra.kube import RESOURCE_SLICES
from hami_dra.model import errors
from hami_dra.node.plugin import Config
from tests.contract.conftest import Add, Spawn, held_up
from tests.support.cards import claim, share
from tests.support.fake_kube import FakeKube
from tests.support.kube_server import serving
from tests.support.kubelet import Kubelet
from tests.support.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def api(kube: FakeKube, folder: Path) -> Iterator[None]:
    """KUBE for processes."""
    with serving(kube, folder):
        yield


@pytest.fixture
def kubelet(config: Config) -> Iterator[Kubelet]:
    one = Kubelet(config.registry)
    yield one
    one.close()


def test_sigterm_takes_the_sockets_away_and_keeps_what_is_prepared(
    spawn: Spawn, kubelet: Kubelet, config: Config, add: Add
) -> None:
    process = spawn()
    kubelet.register()
    body = add(claim("half", share()))
    kubelet.prepare(body)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert not [*config.registry.iterdir(), *config.plugins.glob("*/*.sock")]
    assert len(list(config.cdi.iterdir())) == 1


def test_a_killed_plugin_comes_back_with_its_claims_and_unprepares_them(
    spawn: Spawn, kubelet: Kubelet, config: Config, add: Add
) -> None:
    first = spawn()
    kubelet.register()
    body = add(claim("half", share()))
    kubelet.prepare(body)
    first.kill()
    first.wait()
    shutil.rmtree(config.cdi)  # as after a reboot: the folder is in memory
    spawn()
    until(lambda: list(config.cdi.glob("k8s.*")))
    kubelet.register()
    assert kubelet.unprepare(body)[body["metadata"]["uid"]].error == ""
    assert not list(config.cdi.iterdir())
    assert not list((config.state / "shares").iterdir())


def test_killed_at_any_moment_the_next_prepare_and_unprepare_converge(
    spawn: Spawn, kubelet: Kubelet, config: Config, add: Add
) -> None:
    chance = random.Random(7)
    process = spawn()
    kubelet.register()
    for round_ in range(4):
        bodies = [add(claim(f"c{round_}-{at}", share("1Gi", "5"))) for at in range(8)]
        killer = subprocess.Popen(["sh", "-c", f"sleep {chance.uniform(0, 0.03)}; kill -9 {process.pid}"])
        try:
            for body in bodies:
                kubelet.prepare(body)
        except grpc.RpcError:
            pass
        killer.wait()
        process.wait()
        for socket in config.registry.iterdir():
            socket.unlink()  # kubelet here must not find the dead one first
        process = spawn()
        kubelet.register()
        assert {kubelet.prepare(body)[body["metadata"]["uid"]].error for body in bodies} == {""}
        assert {kubelet.unprepare(body)[body["metadata"]["uid"]].error for body in bodies} == {""}
        assert not list((config.state / "shares").iterdir())


@pytest.mark.parametrize(("first", "then"), [("prepare", "unprepare"), ("unprepare", "prepare")])
def test_what_a_kubelet_that_ended_had_asked_for_does_not_undo_what_the_next_one_asks_for(
    spawn: Spawn, kubelet: Kubelet, config: Config, add: Add, folder: Path, first: str, then: str
) -> None:
    process = spawn()
    kubelet.register()
    body = add(claim("half", share()))
    if first == "unprepare":
        kubelet.prepare(body)
    with ThreadPoolExecutor() as pool, held_up(folder, process) as waits:
        unanswered = pool.submit(getattr(kubelet, first), body)
        until(waits, "the call")
        kubelet.close()
        assert unanswered.exception()
        kubelet.register()
        answer = pool.submit(getattr(kubelet, then), body)
        time.sleep(0.1)  # both wait
    assert not answer.result()[body["metadata"]["uid"]].error
    until(lambda: '"HungUp"' in (folder / "log").read_text(), "the end of the first call")
    prepared = [*config.cdi.glob("*"), *(config.state / "shares").glob("*")]
    assert len(prepared) == (2 if then == "prepare" else 0)


def test_during_a_rolling_update_both_plugins_serve_one_state(
    spawn: Spawn, kubelet: Kubelet, config: Config, add: Add
) -> None:
    old = spawn("11111111-1111-1111-1111-111111111111")
    kubelet.register()
    body = add(claim("half", share()))
    kubelet.prepare(body)
    (old_socket,) = config.registry.iterdir()
    spawn("22222222-2222-2222-2222-222222222222")
    until(lambda: len(list(config.registry.iterdir())) == 2)
    old.terminate()
    old.wait()
    assert not old_socket.exists()
    kubelet.register()
    assert kubelet.unprepare(body)[body["metadata"]["uid"]].error == ""
    assert not list((config.state / "shares").iterdir())


def serves(spawn: Spawn, kubelet: Kubelet, kube: FakeKube) -> None:
    """A plugin is registered and has published: of what comes next, nothing is its start."""
    spawn()
    kubelet.register()
    until(lambda: kube.list(RESOURCE_SLICES)[0], "its slices")


def test_slices_that_kubelet_wipes_are_back_without_being_asked(
    spawn: Spawn, kubelet: Kubelet, kube: FakeKube
) -> None:
    serves(spawn, kubelet, kube)
    (old,) = kube.list(RESOURCE_SLICES)[0]
    kube.delete(RESOURCE_SLICES, old["metadata"]["name"])
    until(lambda: kube.list(RESOURCE_SLICES)[0])
    (new,) = kube.list(RESOURCE_SLICES)[0]
    assert new["spec"]["devices"] == old["spec"]["devices"]
    assert new["spec"]["pool"]["generation"] > old["spec"]["pool"]["generation"]


def test_an_api_server_that_is_away_for_a_moment_costs_the_pod_nothing(
    spawn: Spawn, kubelet: Kubelet, kube: FakeKube, add: Add
) -> None:
    serves(spawn, kubelet, kube)
    body = add(claim("half", share()))
    kube.fail_next = [errors.Unavailable("etcd leader changed", status=503)] * 3
    assert kubelet.prepare(body)[body["metadata"]["uid"]].error == ""
    assert not kube.fail_next


def test_a_claim_is_answered_before_kubelet_gives_up(
    spawn: Spawn, kubelet: Kubelet, kube: FakeKube, add: Add
) -> None:
    serves(spawn, kubelet, kube)
    body = add(claim("half", share()))
    kube.fail_next = [errors.Unavailable("etcd is gone", status=503)] * 1000
    answer = kubelet.prepare(body, timeout_s=7)[body["metadata"]["uid"]]
    assert "etcd is gone" in answer.error
