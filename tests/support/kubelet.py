"""A kubelet for one plugin: finds the registration socket, registers, prepares and unprepares over gRPC.

Times and rules as in pkg/kubelet/pluginmanager and pkg/kubelet/cm/dra of Kubernetes 1.34 to 1.37.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from hami_dra.node.proto import (
    dra_health_v1_pb2,
    dra_health_v1alpha1_pb2,
    dra_v1_pb2,
    dra_v1beta1_pb2,
    registration_pb2,
)

DEADLINE_S = 45.0
"""kubelet's own, for one prepare or unprepare."""
LOOK_S = 0.1  # kubelet's plugin manager looks each second
GET_INFO_S = 1.0
NOTIFY_S = 5.0
MESSAGES = {"v1": dra_v1_pb2, "v1beta1": dra_v1beta1_pb2}
HEALTH = {"v1": dra_health_v1_pb2, "v1alpha1": dra_health_v1alpha1_pb2}


class Kubelet:
    """Speaks as kubelet's plugin manager and DRA manager do.

    PREFER: the newest version that it knows. DRIVER: the plugin to wait for, when the folder has several.
    """

    def __init__(
        self, registry: Path, prefer: str = "v1", driver: str = "", deadline_s: float = DEADLINE_S
    ) -> None:
        self._registry, self._deadline_s = registry, deadline_s
        self._known = ("v1", "v1beta1") if prefer == "v1" else (prefer,)
        self._driver = driver
        self._channel: grpc.Channel | None = None
        self.info: Any = None
        self.version = ""
        self.socket: Path | None = None
        self.always_served = True
        """Whether at each registration the service was there as soon as the plugin said where it is."""

    def register(self, timeout_s: float = 60.0) -> None:
        """Wait for a registration socket, ask who it is, dial its service, tell it the outcome."""
        self.close()
        end = time.monotonic() + timeout_s
        while True:
            try:
                return self._register(self._find(end))
            except grpc.RpcError:  # a socket whose plugin was killed: kubelet tries again
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def prepare(self, *claims: dict[str, Any], timeout_s: float | None = None) -> Any:
        """NodePrepareResources; returns the map by uid, with an entry for each claim."""
        return self._ask("NodePrepareResources", "NodePrepareResourcesRe{}", claims, timeout_s)

    def unprepare(self, *claims: dict[str, Any], timeout_s: float | None = None) -> Any:
        """NodeUnprepareResources, as `prepare`."""
        return self._ask("NodeUnprepareResources", "NodeUnprepareResourcesRe{}", claims, timeout_s)

    def health(self, timeout_s: float) -> Iterator[Any]:
        """Messages of the newest DRAResourceHealth that is offered, until TIMEOUT_S have passed."""
        version = next(each for each in HEALTH if f"{each}.DRAResourceHealth" in self.info.supported_versions)
        messages = HEALTH[version]
        assert self._channel is not None
        call = self._channel.unary_stream(
            f"/{version}.DRAResourceHealth/NodeWatchResources",
            request_serializer=messages.NodeWatchResourcesRequest.SerializeToString,
            response_deserializer=messages.NodeWatchResourcesResponse.FromString,
        )
        stream = call(messages.NodeWatchResourcesRequest(), timeout=timeout_s)
        try:
            yield from stream
        except grpc.RpcError as ended:
            if ended.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
        finally:
            stream.cancel()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _register(self, path: Path) -> None:
        with grpc.insecure_channel(f"unix:{path}") as channel:
            call = _caller(channel, "/pluginregistration.Registration/")
            self.info = call(
                "GetInfo", registration_pb2.InfoRequest(), registration_pb2.PluginInfo, timeout=GET_INFO_S
            )
            self.always_served &= _listens(self.info.endpoint)
            offered = [entry.removesuffix(".DRAPlugin") for entry in self.info.supported_versions]
            self.version = next(version for version in offered if version in self._known)
            self._channel = grpc.insecure_channel(f"unix:{self.info.endpoint}")
            self.socket = path
            threading.Thread(target=self._forget, args=(path, self._channel), daemon=True).start()
            self.notify(channel, well=True)

    def _forget(self, path: Path, channel: grpc.Channel) -> None:
        """A plugin whose registration is gone is none: close the connection, and with it calls under way."""
        while self._channel is channel:
            if not path.is_socket():
                channel.close()
                return
            time.sleep(LOOK_S)

    def notify(self, channel: grpc.Channel, *, well: bool, error: str = "") -> None:
        """NotifyRegistrationStatus on a channel to the registration socket."""
        status = registration_pb2.RegistrationStatus(plugin_registered=well, error=error)
        answer = registration_pb2.RegistrationStatusResponse
        _caller(channel, "/pluginregistration.Registration/")(
            "NotifyRegistrationStatus", status, answer, timeout=NOTIFY_S
        )

    def _ask(
        self, method: str, name: str, claims: tuple[dict[str, Any], ...], timeout_s: float | None = None
    ) -> Any:
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
        timeout_s = timeout_s or self._deadline_s
        answer = call(method, request, getattr(messages, name.format("sponse")), timeout=timeout_s)
        assert set(answer.claims) == {meta["uid"] for meta in metas}, "kubelet wants an entry for each claim"
        return answer.claims

    def _find(self, end: float) -> Path:
        """As kubelet's watcher: names that start with a dot do not count. The newest first."""
        while time.monotonic() < end:
            found = [path for path in self._registry.iterdir() if path.is_socket() and path.name[0] != "."]
            mine = [path for path in found if path.name.startswith(self._driver)]
            if mine:
                return max(mine, key=lambda path: path.stat().st_mtime_ns)
            time.sleep(0.01)
        raise AssertionError(f"no registration socket in {self._registry}")


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as dialled, suppress(OSError):
        dialled.connect(path)
        return True
    return False


def _caller(channel: grpc.Channel, prefix: str) -> Any:
    def call(method: str, request: Any, answer: Any, timeout: float) -> Any:
        stub = channel.unary_unary(
            prefix + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return stub(request, timeout=timeout, wait_for_ready=True)

    return call
