"""A kubelet for one plugin: finds the registration socket, registers, prepares and unprepares over gRPC."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc

from hami_dra.node.proto import dra_v1_pb2, dra_v1beta1_pb2, registration_pb2

DEADLINE_S = 45.0  # kubelet's, for one call
MESSAGES = {"v1": dra_v1_pb2, "v1beta1": dra_v1beta1_pb2}


class Kubelet:
    """Speaks as kubelet's plugin manager and DRA manager do. `prefer`: the newest version that it knows."""

    def __init__(self, registry: Path, prefer: str = "v1") -> None:
        self._registry = registry
        self._known = ("v1", "v1beta1") if prefer == "v1" else (prefer,)
        self._channel: grpc.Channel | None = None
        self.info: Any = None
        self.version = ""

    def register(self, timeout_s: float = 10.0) -> None:
        """Wait for a registration socket, ask who it is, dial its service, tell it the outcome."""
        self.close()
        path = self._find(timeout_s)
        with grpc.insecure_channel(f"unix:{path}") as channel:
            call = _caller(channel, "/pluginregistration.Registration/")
            self.info = call(
                "GetInfo", registration_pb2.InfoRequest(), registration_pb2.PluginInfo, timeout=timeout_s
            )
            offered = [entry.removesuffix(".DRAPlugin") for entry in self.info.supported_versions]
            self.version = next(version for version in offered if version in self._known)
            self._channel = grpc.insecure_channel(f"unix:{self.info.endpoint}")
            status = registration_pb2.RegistrationStatus(plugin_registered=True)
            call("NotifyRegistrationStatus", status, registration_pb2.RegistrationStatusResponse, timeout=5)

    def prepare(self, *claims: dict[str, Any], timeout_s: float = DEADLINE_S) -> Any:
        """NodePrepareResources; returns the map by uid, with an entry for each claim."""
        return self._ask("NodePrepareResources", "NodePrepareResourcesRe{}", claims, timeout_s)

    def unprepare(self, *claims: dict[str, Any]) -> Any:
        """NodeUnprepareResources, as `prepare`."""
        return self._ask("NodeUnprepareResources", "NodeUnprepareResourcesRe{}", claims, DEADLINE_S)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _ask(self, method: str, name: str, claims: tuple[dict[str, Any], ...], timeout_s: float) -> Any:
        messages = MESSAGES[self.version]
        metas = [claim["metadata"] for claim in claims]
        request = getattr(messages, name.format("quest"))(
            claims=[
                messages.Claim(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
                for meta in metas
            ]
        )
        assert self._channel is not None
        call = _caller(self._channel, f"/k8s.io.kubelet.pkg.apis.dra.{self.version}.DRAPlugin/")
        answer = call(method, request, getattr(messages, name.format("sponse")), timeout=timeout_s)
        assert set(answer.claims) == {meta["uid"] for meta in metas}, "kubelet wants an entry for each claim"
        return answer.claims

    def _find(self, timeout_s: float) -> Path:
        """As kubelet's watcher: names that start with a dot do not count."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = [path for path in self._registry.iterdir() if path.is_socket() and path.name[0] != "."]
            if found:
                return found[0]
            time.sleep(0.01)
        raise AssertionError(f"no registration socket in {self._registry} after {timeout_s} s")


def _caller(channel: grpc.Channel, prefix: str) -> Any:
    def call(method: str, request: Any, answer: Any, timeout: float) -> Any:
        stub = channel.unary_unary(
            prefix + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return stub(request, timeout=timeout, wait_for_ready=True)

    return call
