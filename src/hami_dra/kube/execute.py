"""Run a program in a container of a Pod, over the API server's WebSocket (KEP-4006)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hami_dra.model import errors

if TYPE_CHECKING:
    from kubernetes import client as official

PATIENCE_S = 30.0
_OUTPUT, _ERRORS = 1, 2


def run(api: official.ApiClient, namespace: str, pod: str, container: str, command: Sequence[str]) -> str:
    """Return what COMMAND prints; errors.Denied when it may not run or fails, Unavailable when it hangs."""
    # Here, as the plugin, webhook and monitor never run anything and need not carry it.
    from kubernetes.client import ApiException
    from kubernetes.stream.ws_client import websocket_call

    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
    query = [("container", container), ("stdout", "true"), ("stderr", "true"), ("command", list(command))]
    headers: dict[str, str] = {}
    api.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
    try:
        stream = websocket_call(
            api.configuration,
            "GET",
            api.configuration.host + path,
            query_params=query,
            headers=headers,
            _preload_content=False,
        )
        try:
            stream.run_forever(timeout=PATIENCE_S)
            if stream.is_open():
                raise errors.Unavailable(f"{command[0]} in {pod} still runs after {PATIENCE_S:.0f} s")
            said, complaint = stream.read_channel(_OUTPUT), stream.read_channel(_ERRORS)
            code = stream.returncode
        finally:
            stream.sock.shutdown()
    except ApiException as problem:
        raise errors.Denied(f"cannot run {command[0]} in {pod}: {_short(problem.reason)}") from problem
    except (OSError, ValueError, KeyError, TypeError, IndexError) as problem:
        raise errors.Denied(f"cannot run {command[0]} in {pod}: {problem!r}") from problem
    if code:
        raise errors.Denied(f"{' '.join(command)} in {pod} failed: {_short(complaint or said)}")
    return str(said)


def _short(text: object) -> str:
    """The first line; the client puts the whole HTTP answer behind it."""
    lines = str(text).strip().splitlines()
    return lines[0].partition(" -+-+- ")[0][:200] if lines else "no reason given"
