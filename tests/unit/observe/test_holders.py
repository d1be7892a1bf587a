"""From kubelet's answer to a share's labels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from hami_dra.model.names import DRIVER
from hami_dra.observe.holders import Grant, by_share
from hami_dra.observe.kubelet import PodResources, decode
from hami_dra.observe.proto import podresources_v1_pb2 as messages

SHARE = "6108e68f-a7ec-4a30-9782-634885c0c728"
UID = "d99dc6df-092c-4f3a-ac55-cfb88c017af7"


def answer(share_id: str | None = SHARE, *cdi: str):
    resource = messages.ClaimResource(
        driver_name=DRIVER,
        pool_name="n1",
        device_name="hami-gpu-0",
        share_id=share_id,
        cdi_devices=[messages.CDIDevice(name=name) for name in cdi],
    )
    claim = messages.DynamicResource(claim_name="half", claim_namespace="ml", claim_resources=[resource])
    containers = [
        messages.ContainerResources(name="cuda", dynamic_resources=[claim]),
        messages.ContainerResources(name="proxy"),
    ]
    pod = messages.PodResources(name="train", namespace="ml", containers=containers)
    return messages.ListPodResourcesResponse(pod_resources=[pod])


TRAIN = Grant("ml", "train", "cuda", "half", "hami-gpu-0", SHARE)


def test_a_container_with_a_share_is_its_holder():
    assert list(decode(answer())) == [TRAIN]


def test_kubernetes_1_34_tells_the_share_by_its_cdi_device():
    ours = f"k8s.{DRIVER}/claim={UID}-hami-gpu-0-{SHARE}"
    assert list(decode(answer(None, "nvidia.com/gpu=0", ours))) == [TRAIN]


def test_a_device_that_is_not_shared_is_nobodys_share():
    assert list(decode(answer(None, f"k8s.gpu.example.com/claim={UID}-gpu-0"))) == []


def test_pods_that_use_one_claim_are_told_together():
    other = Grant("ml", "eval", "cuda", "half", "hami-gpu-0", SHARE)
    holder = by_share([TRAIN, other, TRAIN])[SHARE]
    assert (holder.namespace, holder.pod, holder.container) == ("ml", "eval,train", "cuda")


class Kubelet:
    """The PodResources service on a real socket."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "kubelet.sock"
        self._server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(
            lambda request, context: answer(),
            request_deserializer=messages.ListPodResourcesRequest.FromString,
            response_serializer=messages.ListPodResourcesResponse.SerializeToString,
        )
        service = grpc.method_handlers_generic_handler("v1.PodResourcesLister", {"List": handler})
        self._server.add_generic_rpc_handlers([service])
        self._server.add_insecure_port(f"unix:{self.path}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()


@pytest.fixture
def kubelet(short_path):
    one = Kubelet(short_path)
    yield one
    one.stop()


def test_kubelet_is_asked_over_its_socket_and_remembered_while_it_restarts(kubelet):
    client = PodResources(kubelet.path)
    try:
        assert client.grants() == [TRAIN]
        kubelet.stop()
        with capture_logs() as logged:
            assert [client.grants(), client.grants()] == [[TRAIN], [TRAIN]]
        assert len(logged) == 1, "it is said once, and not at each scrape"
    finally:
        client.close()


def test_without_kubelet_nobody_holds_anything(tmp_path):
    client = PodResources(tmp_path / "no.sock")
    try:
        assert client.grants() == []
    finally:
        client.close()
