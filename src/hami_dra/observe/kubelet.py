"""kubelet's PodResources: which container was given which share on this node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import structlog

from hami_dra.observe.holders import Grant
from hami_dra.observe.proto import podresources_v1_pb2 as messages

log = structlog.get_logger(__name__)

TIMEOUT_S = 2.0


class PodResources:
    """A client of the socket at PATH (`/var/lib/kubelet/pod-resources/kubelet.sock`)."""

    def __init__(self, path: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix:{path}")
        self._list = self._channel.unary_unary(
            "/v1.PodResourcesLister/List",
            request_serializer=messages.ListPodResourcesRequest.SerializeToString,
            response_deserializer=messages.ListPodResourcesResponse.FromString,
        )
        self._last: list[Grant] = []
        self._failing = False

    def grants(self) -> list[Grant]:
        """What was granted. While kubelet does not answer: what it said last."""
        try:
            answer = self._list(messages.ListPodResourcesRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as problem:
            if not self._failing:
                log.warning("kubelet does not say who holds which share", problem=problem.details())
            self._failing = True
            return self._last
        self._failing = False
        self._last = list(decode(answer))
        return self._last

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def decode(answer: Any) -> Iterator[Grant]:
    """The grants in a ListPodResourcesResponse."""
    for pod in answer.pod_resources:
        for container in pod.containers:
            for claim in container.dynamic_resources:
                for resource in claim.claim_resources:
                    share_id = _share_id(resource)
                    if share_id:
                        yield Grant(
                            pod.namespace,
                            pod.name,
                            container.name,
                            claim.claim_name,
                            resource.device_name,
                            share_id,
                        )


def _share_id(resource: Any) -> str:
    """Kubernetes 1.34 does not tell it: the CDI device's name, `<claimUID>-<device>-<shareID>`, does."""
    if resource.share_id:
        return str(resource.share_id)
    found = (device.name.rpartition(f"-{resource.device_name}-") for device in resource.cdi_devices)
    return next((share_id for _, mark, share_id in found if mark), "")
