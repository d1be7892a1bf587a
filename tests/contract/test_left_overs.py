"""What no live claim owns goes; what one owns comes back, even from a damaged checkpoint. Health tells."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from hami_dra.kube import RESOURCE_CLAIMS, RESOURCE_SLICES
from hami_dra.model import errors
from hami_dra.model.claim import ClaimRef
from hami_dra.node import selinux, sweep
from hami_dra.node.inventory import Inventory
from hami_dra.node.plugin import Config
from hami_dra.node.proto import health_pb2
from tests.contract.conftest import Add, Start
from tests.support.cards import A10, CardBackend, claim, share
from tests.support.fake_kube import FakeKube
from tests.support.kubelet import Kubelet
from tests.support.ports import free_port
from tests.support.waiting import until


def registered(config: Config) -> Kubelet:
    one = Kubelet(config.registry)
    one.register()
    return one


def test_claims_that_are_gone_are_swept_with_all_their_files(
    start: Start, config: Config, kube: FakeKube, add: Add
) -> None:
    plugin = start()
    kubelet = registered(config)
    gone, kept = add(claim("gone", share("1Gi"))), add(claim("kept", share("1Gi")))
    kubelet.prepare(gone, kept)
    kube.delete(RESOURCE_CLAIMS, "gone", "default")
    (config.state / "shares" / "stray").mkdir()
    (config.cdi / "k8s.hami-core-gpu.project-hami.io-claim_stray.yaml").write_text("{}")
    (config.cdi / "nvidia.yaml").write_text("{}")
    sweep.sweep(plugin.driver, kube)
    (own,) = kept["status"]["allocation"]["devices"]["results"]
    assert {path.name for path in (config.state / "shares").iterdir()} == {own["shareID"]}
    assert {path.name for path in config.cdi.iterdir()} == {
        f"k8s.hami-core-gpu.project-hami.io-claim_{kept['metadata']['uid']}.yaml",
        "nvidia.yaml",
    }
    kubelet.close()


def test_an_api_server_that_is_away_makes_the_sweep_remove_nothing(
    start: Start, config: Config, kube: FakeKube, add: Add
) -> None:
    plugin = start()
    kubelet = registered(config)
    kubelet.prepare(add(claim("kept", share())))
    away = FakeKube()
    away.fail_next = [errors.Unavailable("connection refused")]
    with pytest.raises(errors.Unavailable):
        sweep.sweep(plugin.driver, away)
    assert len(list((config.state / "shares").iterdir())) == 1
    kubelet.close()


def test_a_damaged_checkpoint_is_kept_aside_and_made_anew_from_the_api(
    start: Start, config: Config, add: Add
) -> None:
    first = start()
    kubelet = registered(config)
    kubelet.prepare(add(claim("first", share("20Gi", "10"))))
    kubelet.close()
    first.stop()
    (config.state / "checkpoint.json").write_text("}")
    start()
    kubelet = registered(config)
    second = add(claim("second", share("20Gi", "10")))
    error = kubelet.prepare(second)[second["metadata"]["uid"]].error
    assert "given away more than once" in error
    assert len(list(config.state.glob("checkpoint.json.damaged-*"))) == 1
    assert len(list((config.state / "shares").iterdir())) == 1
    kubelet.close()


def test_on_a_disk_that_is_full_a_plugin_starts_and_knows_its_claims(
    start: Start, config: Config, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They can be unprepared then, which makes space."""
    first = start()
    body = add(claim("half", share()))
    kubelet = registered(config)
    before = kubelet.prepare(body)
    kubelet.close()
    first.stop()

    def full(path: Any, flags: int, *mode: int, **options: Any) -> int:
        if flags & os.O_CREAT and Path(path).is_relative_to(config.state):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, flags, *mode, **options)

    opened = os.open
    monkeypatch.setattr(os, "open", full)
    start()
    kubelet = registered(config)
    assert kubelet.prepare(body) == before
    new = add(claim("new", share()))
    assert "No space left on device" in kubelet.prepare(new)[new["metadata"]["uid"]].error
    monkeypatch.undo()
    assert not kubelet.unprepare(body)[body["metadata"]["uid"]].error
    kubelet.close()


def test_during_a_rolling_update_the_plugin_that_started_last_publishes(start: Start, kube: FakeKube) -> None:
    old = start(pod_uid="old")
    until(lambda: old.publisher.problem is None)
    new = start(pod_uid="new")
    until(lambda: new.publisher.problem is None)
    before = kube.list(RESOURCE_SLICES)[0]
    old.publisher.update(Inventory((A10,)))
    old.publisher.sync()
    assert kube.list(RESOURCE_SLICES)[0] == before
    new.stop()
    old.publisher.update(Inventory((A10,)))
    old.publisher.sync()
    (item,) = kube.list(RESOURCE_SLICES)[0]
    assert [device["name"] for device in item["spec"]["devices"]] == [A10.name]


def test_what_kubelet_waits_for_no_longer_is_not_prepared(start: Start, add: Add) -> None:
    """It may have been unprepared meanwhile, and would stay for ever."""
    driver = start().driver
    body = add(claim("late", share()))
    late = ClaimRef("default", "late", body["metadata"]["uid"])
    with pytest.raises(errors.PrepareError, match="kubelet waits no longer"):
        driver.prepare(late, wanted=lambda: False)
    assert (driver.checkpoint.load(), driver.folders.ids(), driver.cdi.uids()) == ({}, set(), set())
    assert driver.prepare(late)


def test_what_kubelet_waits_for_no_longer_is_not_unprepared(start: Start, add: Add) -> None:
    """A kubelet that was started anew may have had it prepared meanwhile, for another Pod."""
    driver = start().driver
    body = add(claim("shared", share()))
    shared = ClaimRef("default", "shared", body["metadata"]["uid"])
    driver.prepare(shared)
    with pytest.raises(errors.PrepareError, match="kubelet waits no longer"):
        driver.unprepare(shared, wanted=lambda: False)
    assert driver.checkpoint.load().keys() == driver.cdi.uids() == {shared.uid}
    driver.unprepare(shared)
    assert (driver.checkpoint.load(), driver.folders.ids(), driver.cdi.uids()) == ({}, set(), set())


def test_without_the_driver_claims_can_be_given_back_and_no_other_is_prepared(
    start: Start, config: Config, add: Add, backend: CardBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a boot the driver may be installed only when the Pods that hold claims have ended."""

    def away() -> None:
        raise errors.DriverError("libnvidia-ml.so.1 is not below /run/nvidia/driver")

    held, new = add(claim("held", share("1Gi"))), add(claim("new", share("1Gi")))
    first = start()
    kubelet = registered(config)
    kubelet.prepare(held)
    kubelet.close()
    first.stop()
    with monkeypatch.context() as patch:
        patch.setattr(backend, "discover", away)
        plugin = start()
        kubelet = registered(config)
        assert plugin.problem == "libnvidia-ml.so.1 is not below /run/nvidia/driver"
        assert "libnvidia-ml.so.1" in kubelet.prepare(new)[new["metadata"]["uid"]].error
        plugin.watch.poll()
        assert not kubelet.unprepare(held)[held["metadata"]["uid"]].error
        assert not [*config.cdi.iterdir(), *(config.state / "shares").iterdir()]
    plugin.watch.poll()
    assert not kubelet.prepare(new)[new["metadata"]["uid"]].error
    until(lambda: plugin.problem is None)
    kubelet.close()


def test_without_the_driver_and_without_claims_a_plugin_says_so_and_ends(
    start: Start, backend: CardBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise errors.DriverError("libnvidia-ml.so.1 is not below /run/nvidia/driver")

    monkeypatch.setattr(backend, "discover", away)
    with pytest.raises(errors.DriverError, match="is not below"):
        start()


def check(port: int, service: str) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = call(health_pb2.HealthCheckRequest(service=service), timeout=60, wait_for_ready=True)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def test_health_follows_the_sockets_and_readiness_kubelet_and_the_slice_as_well(
    start: Start, config: Config
) -> None:
    port = free_port()
    plugin = start(health_port=port)
    assert check(port, "") == "SERVING"
    until(lambda: plugin.publisher.problem is None)
    assert check(port, "readiness") == "NOT_SERVING", "the plugin before it must not end yet"
    registered(config).close()
    assert check(port, "readiness") == "SERVING"
    plugin.publisher.problem = "the API server dropped fields"
    assert check(port, "readiness") == "NOT_SERVING"
    assert check(port, "liveness") == "SERVING"
    plugin.sockets.service.unlink()
    assert check(port, "") == "NOT_SERVING"


def test_where_selinux_would_keep_containers_from_their_share_the_plugin_labels_its_folder(
    start: Start, config: Config
) -> None:
    config.state.mkdir(parents=True, exist_ok=True)
    os.setxattr(config.state, "security.selinux", b"system_u:object_r:var_lib_t:s0")
    start()
    assert not selinux.closed(config.state)
