"""gRPC services: thin translations between kubelet's messages and `NodeDriver`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import structlog
from prometheus_client import Histogram

from hami_dra.model import errors
from hami_dra.model.claim import ClaimRef
from hami_dra.node import health_stream, metrics
from hami_dra.node.claim_files import Granted
from hami_dra.node.driver import NodeDriver
from hami_dra.node.proto import dra_v1_pb2, dra_v1beta1_pb2, registration_pb2
from hami_dra.node.reporter import Reporter

log = structlog.get_logger(__name__)

# kubelet takes the first of the plugin's list that it knows, and passes over the others.
VERSIONS = {"v1": dra_v1_pb2, "v1beta1": dra_v1beta1_pb2}
SERVICES = (*(f"{version}.DRAPlugin" for version in VERSIONS), *health_stream.SERVICES)
KUBELETS_DEADLINE_S = 45.0
MARGIN_S = 5.0
"""Left of kubelet's deadline for writing files and for the answer."""


def dra(driver: NodeDriver, reporter: Reporter) -> list[grpc.GenericRpcHandler]:
    """Both versions of DRAPlugin. An empty request is answered at once: the health check asks that."""
    return [_dra(driver, reporter, version, messages) for version, messages in VERSIONS.items()]


def registration(
    driver: str, endpoint: Path, on_status: Callable[[bool, str], None]
) -> grpc.GenericRpcHandler:
    """The Registration service; ON_STATUS hears what kubelet made of us."""

    def get_info(_request: Any, _context: grpc.ServicerContext) -> Any:
        return registration_pb2.PluginInfo(
            type="DRAPlugin", name=driver, endpoint=str(endpoint), supported_versions=SERVICES
        )

    def notify(request: Any, _context: grpc.ServicerContext) -> Any:
        on_status(request.plugin_registered, request.error)
        return registration_pb2.RegistrationStatusResponse()

    return handlers(
        "pluginregistration.Registration",
        GetInfo=(get_info, registration_pb2.InfoRequest),
        NotifyRegistrationStatus=(notify, registration_pb2.RegistrationStatus),
    )


def serve(address: str, of: Sequence[grpc.GenericRpcHandler], threads: int) -> grpc.Server:
    """Serve OF on ADDRESS (`unix:PATH`, `HOST:PORT`); StateError when it cannot listen there."""
    server = grpc.server(ThreadPoolExecutor(max_workers=threads), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(of)
    try:
        server.add_insecure_port(address)
    except RuntimeError as problem:
        raise errors.StateError(f"cannot listen on {address}: {problem}") from problem
    server.start()
    return server


def handlers(service: str, **methods: tuple[Callable[..., Any], Any]) -> grpc.GenericRpcHandler:
    """Unary methods of one service, each with the class of its request."""
    return grpc.method_handlers_generic_handler(
        service,
        {
            name: grpc.unary_unary_rpc_method_handler(
                method, request_deserializer=message.FromString, response_serializer=_serialize
            )
            for name, (method, message) in methods.items()
        },
    )


def _dra(driver: NodeDriver, reporter: Reporter, version: str, messages: Any) -> grpc.GenericRpcHandler:
    def grant(answer: Any, ref: ClaimRef, context: grpc.ServicerContext) -> None:
        granted = driver.prepare(ref, _time_left(context), context.is_active)
        answer.devices.extend(_device(messages, each) for each in granted)
        reporter.prepared(ref, granted)

    def release(_answer: Any, ref: ClaimRef, context: grpc.ServicerContext) -> None:
        driver.unprepare(ref, _time_left(context), context.is_active)
        reporter.unprepared(ref)

    def each_claim(
        operation: str, took: Histogram, answers: Any, act: Callable[[Any, ClaimRef, Any], None]
    ) -> Callable[[Any, grpc.ServicerContext], Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            response = answers()
            if not request.claims:  # a health check, and no time of a Pod
                return response
            with took.time():
                for claim in request.claims:
                    ref = ClaimRef(claim.namespace, claim.name, claim.uid)
                    answer = response.claims[ref.uid]
                    answer.error = _attempt(operation, ref, reporter, partial(act, answer, ref, context))
            return response

        return call

    prepare = each_claim("prepare", metrics.PREPARE, messages.NodePrepareResourcesResponse, grant)
    unprepare = each_claim("unprepare", metrics.UNPREPARE, messages.NodeUnprepareResourcesResponse, release)
    return handlers(
        f"k8s.io.kubelet.pkg.apis.dra.{version}.DRAPlugin",
        NodePrepareResources=(prepare, messages.NodePrepareResourcesRequest),
        NodeUnprepareResources=(unprepare, messages.NodeUnprepareResourcesRequest),
    )


def _attempt(operation: str, ref: ClaimRef, reporter: Reporter, action: Callable[[], None]) -> str:
    """Run ACTION; return the error, which kubelet shows in the Pod's events, or nothing when all is well."""
    try:
        action()
    except errors.PrepareError as problem:
        reason, text = problem.reason, str(problem)
    except errors.HamiError as problem:
        reason, text = type(problem).__name__, f"{ref}: {problem}"
    except OSError as problem:
        reason, text = "NodeState", f"{ref}: the state on the node cannot be written: {problem}"
    except Exception as problem:  # kubelet must get an entry for each claim, whatever a claim holds
        log.exception("defect", operation=operation, **ref.fields)
        reason, text = "Defect", f"{ref}: a defect of the plugin, see its log: {problem!r}"
    else:
        return ""
    metrics.FAILURES.labels(operation, reason).inc()
    log.warning(f"{operation} refused", **ref.fields, reason=reason, error=text)
    if operation == "prepare":
        reporter.refused(ref, reason, text)
    return text


def _time_left(context: grpc.ServicerContext) -> float:
    left = context.time_remaining()
    return max(0.1, min(left if left is not None else KUBELETS_DEADLINE_S, KUBELETS_DEADLINE_S) - MARGIN_S)


def _device(messages: Any, granted: Granted) -> Any:
    device = messages.Device(
        request_names=[granted.request],
        pool_name=granted.pool,
        device_name=granted.device,
        cdi_device_ids=granted.cdi_ids,
    )
    if granted.share_id and "share_id" in messages.Device.DESCRIPTOR.fields_by_name:
        device.share_id = granted.share_id
    return device


def _serialize(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
