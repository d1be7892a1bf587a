"""A peer to measure by: the least that a webhook in Python can do, a constant patch by starlette."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hami_dra.admission import authority
from tests.support import webhook_process
from tests.support.ports import free_port
from tests.support.waiting import until


@contextlib.contextmanager
def running(folder: Path, prefix: tuple[str, ...]) -> Iterator[tuple[int, ssl.SSLContext]]:
    """The peer as a process of its own, on the same core."""
    bundle = authority.renew(None, ["localhost"], datetime.datetime.now(datetime.UTC))
    webhook_process.write(bundle.serving, folder / "certs")
    (folder / "ca.crt").write_bytes(bundle.ca.certificate)
    port = free_port()
    program = [sys.executable, "-m", "tests.support.toy_webhook"]
    command = [*prefix, *program, str(port), str(folder / "certs")]
    process = subprocess.Popen(command)
    try:
        until(lambda: _listens(port), "the peer")
        yield port, ssl.create_default_context(cafile=str(folder / "ca.crt"))
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port)):
        return True
    return False


def serve(port: int, certificates: Path) -> None:
    """Starlette and uvicorn, the request decoded, a constant patch."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    patch = base64.b64encode(
        json.dumps([{"op": "add", "path": "/metadata/labels/x", "value": "y"}]).encode()
    ).decode()

    async def mutate(request: Request) -> Response:
        asked = await request.json()
        answer = {"uid": asked["request"]["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
        return JSONResponse(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
        )

    uvicorn.run(
        Starlette(routes=[Route("/mutate", mutate, methods=["POST"])]),
        port=port,
        log_level="error",
        access_log=False,
        ssl_certfile=str(certificates / "tls.crt"),
        ssl_keyfile=str(certificates / "tls.key"),
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
