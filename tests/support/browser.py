"""Headless Chromium, driven over a pair of pipes in the DevTools protocol: no port and no other library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cluster import debian
from tests.support.waiting import until

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    "--remote-debugging-pipe",  # commands on descriptor 3, answers on 4
)
PATIENCE_S = 30.0


class Silent(AssertionError):
    """The browser answers nothing any more."""


class Browser:
    """One browser with one tab and a profile of its own; everything is gone at the end."""

    def __init__(self, width: int = 1440, height: int = 960) -> None:
        if not shutil.which("chromium"):
            debian.install(("chromium",))
        self._size = f"--window-size={width},{height}"
        self.requests: list[str] = []
        """Every address that the tab asked for."""
        self.complaints: list[str] = []
        """What the page's console said: errors, and what the Content-Security-Policy forbade."""
        self._start()

    def _start(self) -> None:
        self._profile = tempfile.mkdtemp(prefix="hami-browser-", dir="/tmp")
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The shell puts the pipes where the browser looks for them.
        line = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        command = ["chromium", *FLAGS, f"--user-data-dir={self._profile}", self._size]
        self._process = subprocess.Popen(
            ["bash", "-c", line, "bash", *command, "about:blank"],
            env=os.environ | {"TMPDIR": self._profile},  # short: it makes sockets there
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._pending = b""
        self._number = 0
        self._session = ""
        tabs = [each for each in self._call("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        attached = self._call("Target.attachToTarget", targetId=tabs[0]["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        os.close(self._out)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, address: str, drawn: str = "document.documentElement?.dataset.renderMs") -> None:
        """Load a page and wait until it is DRAWN (the monitor's: its data), in its style, on the screen."""
        try:
            self._open(address, drawn)
        except Silent:  # Chromium 156 did so once in hundreds of pages, alive and with nothing to do
            self._end()
            self._start()
            self._open(address, drawn)

    def _open(self, address: str, drawn: str) -> None:
        self._call("Page.navigate", url=address)
        self.until(f"{drawn} && document.readyState === 'complete'")
        self.script("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")

    def script(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression is true in the page; returns its value."""
        return until(lambda: self.script(expression), expression)

    def press(self, *keys: str) -> None:
        """Press keys one after the other, as a person would."""
        codes = {"Enter": 13, "Tab": 9}
        for key in keys:
            text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
            named = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key, 0)}
            self._call("Input.dispatchKeyEvent", type="keyDown", **named, **text)
            self._call("Input.dispatchKeyEvent", type="keyUp", **named)

    def prefer(self, scheme: str) -> None:
        """Dark or light, as the system's setting."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def spoken(self) -> list[tuple[str, str]]:
        """(role, name) of everything that a screen reader would come across."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node.get("ignored")
        ]

    def picture(self, path: Path) -> None:
        """Save what is on the screen as a PNG."""
        data = self._call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            if not select.select([self._in], [], [], PATIENCE_S)[0]:
                raise Silent(f"the browser said nothing for {PATIENCE_S:.0f} s")
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "the browser ended"
            self._pending += chunk
        message, _, self._pending = self._pending.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded
