"""What kubelet hears of each device's health, in both versions, as long as it listens."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest

from hami_dra.devices.backend import Problem
from hami_dra.node import health_stream, inventory
from hami_dra.node.plugin import Config, Plugin
from tests.contract.conftest import Start
from tests.support.cards import A10, NODE, SECOND, CardBackend
from tests.support.fake_kube import FakeKube, Gate
from tests.support.kubelet import Kubelet
from tests.support.waiting import until


@pytest.fixture
def plugin(start: Start) -> Plugin:
    return start()


@pytest.fixture(params=["v1", "v1alpha1"])
def messages(request: pytest.FixtureRequest) -> Any:
    return health_stream.VERSIONS[request.param]


@pytest.fixture
def channel(plugin: Plugin) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"unix:{plugin.sockets.service}") as one:
        yield one


def watch(channel: grpc.Channel, messages: Any) -> Any:
    package = messages.DESCRIPTOR.package
    call = channel.unary_stream(
        f"/{package}.DRAResourceHealth/NodeWatchResources",
        request_serializer=messages.NodeWatchResourcesRequest.SerializeToString,
        response_deserializer=messages.NodeWatchResourcesResponse.FromString,
    )
    return call(messages.NodeWatchResourcesRequest(), wait_for_ready=True, timeout=60)


def said(answer: Any) -> dict[str, tuple[int, str]]:
    assert {each.device.pool_name for each in answer.devices} == {NODE}
    return {each.device.device_name: (each.health, each.message) for each in answer.devices}


def test_every_device_is_told_at_once_and_a_change_as_it_comes(
    plugin: Plugin, backend: CardBackend, channel: grpc.Channel, messages: Any
) -> None:
    asked = int(time.time())
    stream = watch(channel, messages)
    first = next(stream)
    assert said(first) == {A10.name: (messages.HEALTHY, ""), SECOND.name: (messages.HEALTHY, "")}
    assert asked <= first.devices[0].last_updated_time <= time.time()
    assert first.devices[0].health_check_timeout_seconds == 30
    backend.problems = [
        Problem(SECOND.name, "xid", "XID 79", "79"),
        Problem(A10.name, "hot", "87 C", "", False),
    ]
    plugin.watch.poll()
    assert said(next(stream)) == {
        A10.name: (messages.HEALTHY, "87 C"),
        SECOND.name: (messages.UNHEALTHY, "XID 79"),
    }
    stream.cancel()


def test_an_api_server_that_answers_nothing_holds_up_no_word_to_kubelet(
    plugin: Plugin, backend: CardBackend, kube: FakeKube, channel: grpc.Channel, messages: Any
) -> None:
    gate = kube.gate = Gate("list", "resourceslices", "")
    stream = watch(channel, messages)
    assert said(next(stream))
    for problems in ([Problem(SECOND.name, "xid", "XID 79", "79")], []):
        backend.problems = problems
        plugin.watch.poll()
        told = "".join(each.message for each in problems)
        assert any(said(answer)[SECOND.name][1] == told for answer in stream)
        assert gate.reached.wait(60)
    stream.cancel()
    gate.opened.set()


def test_a_driver_that_hangs_vouches_for_no_card_until_it_answers(
    start: Start, backend: CardBackend, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "POLL_S", 0.02)
    monkeypatch.setattr(inventory, "SILENT_S", 0.1)
    answers = threading.Event()
    answers.set()

    def health(_devices: Any) -> list[Problem]:
        answers.wait(60)
        return []

    monkeypatch.setattr(backend, "health", health)
    plugin = start()
    with grpc.insecure_channel(f"unix:{plugin.sockets.service}") as channel:
        stream = watch(channel, messages)
        answers.clear()
        hanging = (messages.UNHEALTHY, "the driver has not answered for 0 s")
        assert any(said(each) == {A10.name: hanging, SECOND.name: hanging} for each in stream)
        answers.set()
        well = (messages.HEALTHY, "")
        assert any(said(each) == {A10.name: well, SECOND.name: well} for each in stream)
        stream.cancel()


def test_the_whole_list_is_sent_again_before_kubelet_forgets_it(
    channel: grpc.Channel, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health_stream.RESEND_S <= 10
    monkeypatch.setattr(health_stream, "RESEND_S", 0.05)
    stream = watch(channel, messages)
    assert len({len(next(stream).devices) for _ in range(5)}) == 1
    stream.cancel()


def test_streams_that_nobody_ends_never_take_the_threads_of_prepare(
    channel: grpc.Channel, messages: Any, config: Config
) -> None:
    """The newest stay, and of the others each is ended."""
    streams = [watch(channel, messages) for _ in range(4 * health_stream.MOST_STREAMS)]
    ended: list[Any] = []

    def listen(stream: Any) -> None:
        with suppress(grpc.RpcError):  # cancelled
            deque(stream, 0)
            ended.append(stream)

    listeners = [threading.Thread(target=listen, args=(stream,)) for stream in streams]
    for listener in listeners:
        listener.start()
    until(lambda: len(ended) == len(streams) - health_stream.MOST_STREAMS)
    kubelet = Kubelet(config.registry)
    kubelet.register()
    assert dict(kubelet.prepare()) == {}
    kubelet.close()
    for stream in streams:
        stream.cancel()
    for listener in listeners:
        listener.join()
    assert len(ended) == len(streams) - health_stream.MOST_STREAMS
