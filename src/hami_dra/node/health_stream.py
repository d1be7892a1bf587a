"""DRAResourceHealth (KEP-4680): tells kubelet how each device is, in both versions of the API.

kubelet forgets a word after 30 s: the whole list is sent at once, on every change, and every few seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc

from hami_dra.node.inventory import Inventory
from hami_dra.node.proto import dra_health_v1_pb2, dra_health_v1alpha1_pb2

VERSIONS = {"v1": dra_health_v1_pb2, "v1alpha1": dra_health_v1alpha1_pb2}
SERVICES = tuple(f"{version}.DRAResourceHealth" for version in VERSIONS)
RESEND_S = 5.0
TIMEOUT_S = 30
MOST_MESSAGE = 1024
MOST_STREAMS = 4
"""Each stream holds a thread of the server. kubelet has one; a newer one ends the oldest beyond these."""


class HealthFeed:
    """What the streams say. `update` is told every inventory; `close` ends all streams."""

    def __init__(self, pool: str, inventory: Inventory) -> None:
        self._pool = pool
        self._inventory = inventory
        self._changed = threading.Condition()
        self._streams: list[object] = []
        self._closed = False

    def update(self, inventory: Inventory) -> None:
        """Send INVENTORY on every stream."""
        with self._changed:
            self._inventory = inventory
            self._changed.notify_all()

    def close(self) -> None:
        """End all streams, now, and any that begins later: they would hold up the end of the server."""
        with self._changed:
            self._closed = True
            self._streams.clear()
            self._changed.notify_all()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Both versions of the service."""
        return [self._service(version, messages) for version, messages in VERSIONS.items()]

    def _service(self, version: str, messages: Any) -> grpc.GenericRpcHandler:
        def watch(_request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            return self._watch(messages, context)

        method = grpc.unary_stream_rpc_method_handler(
            watch,
            request_deserializer=messages.NodeWatchResourcesRequest.FromString,
            response_serializer=messages.NodeWatchResourcesResponse.SerializeToString,
        )
        service = f"{version}.DRAResourceHealth"
        return grpc.method_handlers_generic_handler(service, {"NodeWatchResources": method})

    def _watch(self, messages: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        me = object()
        with self._changed:
            self._streams = [*self._streams, me][-MOST_STREAMS:]
            self._changed.notify_all()
        if not context.add_callback(lambda: self._leave(me)):
            self._leave(me)  # ended already
        while True:
            with self._changed:
                if self._closed or me not in self._streams:
                    return
                inventory = self._inventory
            yield response(messages, self._pool, inventory, int(time.time()))
            with self._changed:
                if me in self._streams and self._inventory is inventory:
                    self._changed.wait(RESEND_S)

    def _leave(self, stream: object) -> None:
        with self._changed:
            self._streams = [each for each in self._streams if each is not stream]
            self._changed.notify_all()


def response(messages: Any, pool: str, inventory: Inventory, now: int) -> Any:
    """One message with every device. NOW in seconds since the epoch."""
    answer = messages.NodeWatchResourcesResponse()
    for device in inventory.devices:
        fatal = inventory.fatal(device.name)
        text = "; ".join(problem.message for problem in inventory.problems.get(device.name, ()))
        answer.devices.add(
            device=messages.DeviceIdentifier(pool_name=pool, device_name=device.name),
            health=messages.UNHEALTHY if fatal else messages.HEALTHY,
            last_updated_time=now,
            health_check_timeout_seconds=TIMEOUT_S,
            message=text[:MOST_MESSAGE],
        )
    return answer
