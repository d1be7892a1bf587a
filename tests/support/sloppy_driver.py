"""A DRA driver that breaks the rules, so that the conformance checks are seen to fail: sloppy_driver FOLDER.

It serves only once it is registered, answers with a device for whatever it is asked, keeps nothing, watches
nothing, and dies when refused.
"""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from hami_dra.kube import RESOURCE_SLICES, Client
from hami_dra.node.proto import dra_v1_pb2, registration_pb2
from hami_dra.node.services import handlers

DRIVER = "sloppy.example.com"


def main(folder: Path) -> None:
    endpoint = folder / "plugins" / "sloppy.sock"
    seen: list[str] = []
    serving: list[grpc.Server] = []

    def prepare(request: Any, _context: Any) -> Any:
        answer = dra_v1_pb2.NodePrepareResourcesResponse()
        for claim in request.claims:
            seen.append(claim.uid)
            answer.claims[claim.uid].devices.add(
                pool_name="pool",
                device_name=f"d{len(seen)}",
                cdi_device_ids=[f"no qualified name {os.getpid()}"],
            )
        return answer

    def unprepare(request: Any, _context: Any) -> Any:
        answer = dra_v1_pb2.NodeUnprepareResourcesResponse()
        for claim in request.claims:
            answer.claims[claim.uid].error = "" if claim.uid in seen else "unknown claim"
            if claim.uid in seen:
                seen.remove(claim.uid)
        return answer

    def get_info(_request: Any, _context: Any) -> Any:
        return registration_pb2.PluginInfo(
            type="DRAPlugin", name=DRIVER, endpoint=str(endpoint), supported_versions=["v1.DRAPlugin"]
        )

    def notify(request: Any, _context: Any) -> Any:
        if not request.plugin_registered:
            os.kill(os.getpid(), signal.SIGKILL)
        if not serving:
            serving.append(serve(service, endpoint))
        return registration_pb2.RegistrationStatusResponse()

    service = handlers(
        "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin",
        NodePrepareResources=(prepare, dra_v1_pb2.NodePrepareResourcesRequest),
        NodeUnprepareResources=(unprepare, dra_v1_pb2.NodeUnprepareResourcesRequest),
    )
    registration = handlers(
        "pluginregistration.Registration",
        GetInfo=(get_info, registration_pb2.InfoRequest),
        NotifyRegistrationStatus=(notify, registration_pb2.RegistrationStatus),
    )
    endpoint.unlink(missing_ok=True)
    kube = Client.from_environment(str(folder / "kubeconfig"))
    shared = {"allowMultipleAllocations": True, "capacity": {"memory": {"value": "1Gi"}}}
    spec = {
        "driver": DRIVER,
        "nodeName": "node",
        "pool": {"name": "pool", "generation": 1, "resourceSliceCount": 2},
        "devices": [{"name": "d0"} | shared],
    }
    kube.create(RESOURCE_SLICES, {"metadata": {"generateName": "sloppy-"}, "spec": spec})
    serve(registration, folder / "registry" / f"{DRIVER}-reg.sock").wait_for_termination()


def serve(handler: grpc.GenericRpcHandler, path: Path) -> grpc.Server:
    """Serve one service on a socket of its own."""
    path.unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([handler])
    server.add_insecure_port(f"unix:{path}")
    server.start()
    return server


if __name__ == "__main__":
    main(Path(sys.argv[1]))
