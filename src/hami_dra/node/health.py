"""grpc.health.v1: asks our own sockets, as kubelet would, for the plugin's name and an empty prepare.

Services: "" and "liveness" (the sockets answer), "readiness" (and kubelet has registered us, and the
ResourceSlices are published whole): a rolling update ends the old plugin when the new one is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from hami_dra.node.proto import dra_v1_pb2, health_pb2, registration_pb2
from hami_dra.node.services import handlers
from hami_dra.node.sockets import Sockets

TIMEOUT_S = 4.0
STATUS = health_pb2.HealthCheckResponse


def service(
    sockets: Callable[[], Sequence[Sockets]], problem: Callable[[], str | None]
) -> grpc.GenericRpcHandler:
    """The Health service. SOCKETS: of each family; PROBLEM: why one cannot be used yet, None if all can."""

    def check(request: Any, context: grpc.ServicerContext) -> Any:
        if request.service not in ("", "liveness", "readiness"):
            context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        well = all(map(_answer, sockets())) and (request.service != "readiness" or problem() is None)
        return STATUS(status=STATUS.SERVING if well else STATUS.NOT_SERVING)

    return handlers("grpc.health.v1.Health", Check=(check, health_pb2.HealthCheckRequest))


def _answer(sockets: Sockets) -> bool:
    try:
        with grpc.insecure_channel(f"unix:{sockets.registration}") as channel:
            channel.unary_unary(
                "/pluginregistration.Registration/GetInfo",
                request_serializer=registration_pb2.InfoRequest.SerializeToString,
                response_deserializer=registration_pb2.PluginInfo.FromString,
            )(registration_pb2.InfoRequest(), timeout=TIMEOUT_S)
        with grpc.insecure_channel(f"unix:{sockets.service}") as channel:
            channel.unary_unary(
                "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources",
                request_serializer=dra_v1_pb2.NodePrepareResourcesRequest.SerializeToString,
                response_deserializer=dra_v1_pb2.NodePrepareResourcesResponse.FromString,
            )(dra_v1_pb2.NodePrepareResourcesRequest(), timeout=TIMEOUT_S)
    except grpc.RpcError:
        return False
    return True
