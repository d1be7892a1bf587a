"""Programs in containers, over a WebSocket as the API server speaks it (v4.channel.k8s.io)."""

import base64
import hashlib
import json
import socket
import threading
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlsplit

import pytest
from kubernetes import client as official

from hami_dra.kube import execute
from hami_dra.model import errors

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
OUTPUT, ERRORS, OUTCOME = 1, 2, 3
WELL = {"status": "Success"}
FAILED = {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "1"}]}}


def frame(channel, data):
    payload = bytes([channel]) + data.encode()
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return b"\x82" + length + payload


@contextmanager
def api_server(*frames, status=""):
    """Answers one upgrade with FRAMES, or refuses it with STATUS; yields a client and what was asked."""
    listening = socket.create_server(("127.0.0.1", 0))
    asked = []

    def serve():
        connection, _ = listening.accept()
        with connection:
            request = connection.recv(65536).decode()
            asked.append(request)
            if status:
                connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
                return
            key = next(line.split(": ")[1] for line in request.split("\r\n") if "Sec-WebSocket-Key" in line)
            accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
            answer = (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
            )
            connection.sendall(answer.encode() + b"".join(frames) + b"\x88\x02\x03\xe8")
            connection.recv(65536)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    configuration = official.Configuration()
    configuration.host = f"http://127.0.0.1:{listening.getsockname()[1]}"
    configuration.api_key = {"BearerToken": "Bearer mine"}
    try:
        yield official.ApiClient(configuration), asked
    finally:
        thread.join(5)
        listening.close()


def run(api):
    return execute.run(api, "hami-system", "plugin-x", "plugin", ["hami", "node-facts"])


def test_what_a_program_prints_comes_back_whole():
    long = json.dumps({"shares": ["s" * 50] * 100})
    parts = [frame(OUTPUT, long[:3000]), frame(OUTPUT, long[3000:]), frame(OUTCOME, json.dumps(WELL))]
    with api_server(*parts) as (api, asked):
        assert run(api) == long
    line = asked[0].split("\r\n")[0].split(" ")[1]
    assert urlsplit(line).path == "/api/v1/namespaces/hami-system/pods/plugin-x/exec"
    query = parse_qsl(urlsplit(line).query)
    assert [value for key, value in query if key == "command"] == ["hami", "node-facts"]
    assert ("container", "plugin") in query
    assert "authorization: Bearer mine" in asked[0]


def test_a_program_that_fails_is_told_with_its_own_words():
    with (
        api_server(frame(ERRORS, "No such command\n"), frame(OUTCOME, json.dumps(FAILED))) as (api, _),
        pytest.raises(errors.Denied, match="node-facts in plugin-x failed: No such command"),
    ):
        run(api)


def test_a_program_that_fails_without_a_word_is_told_as_such():
    with (
        api_server(frame(OUTCOME, json.dumps(FAILED))) as (api, _),
        pytest.raises(errors.Denied, match="failed: no reason given"),
    ):
        run(api)


@pytest.mark.parametrize("status", ["403 Forbidden", "500 Internal Server Error"])
def test_a_refusal_is_one_line(status):
    with api_server(status=status) as (api, _), pytest.raises(errors.Denied) as refusal:
        run(api)
    assert status in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1
