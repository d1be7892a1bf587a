"""kubelet's own plugin manager and DRA manager as a process: see tests/support/kubelet_dra."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.cluster import go_programs, versions
from tests.support.waiting import until


class RealKubelet:
    """Of the Node NODE. FOLDER has `registry`, and in `kubeconfig` the cluster."""

    def __init__(self, folder: Path, node: str) -> None:
        program = go_programs.build(go_programs.kubelet_dra(versions.KUBERNETES[versions.DEFAULT_KUBERNETES]))
        (folder / "kubelet").mkdir()
        options = [f"--kubeconfig={folder}/kubeconfig", f"--registry={folder}/registry"]
        self._command = [program / "kubelet_dra", *options, f"--state={folder}/kubelet", f"--node={node}"]
        self._log = (folder / "kubelet.log").open("ab")
        self._process = self._started()

    def restart(self) -> None:
        """Begin anew after an end, with the state that it kept."""
        self._process.communicate()
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=self._log)

    def ask(self, do: str, pod: str, namespace: str = "default") -> tuple[str, list[str]]:
        """The error, and what it says."""
        assert self._process.stdin
        assert self._process.stdout
        asked = {"do": do, "namespace": namespace, "pod": pod}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "kubelet ended"}')
        return answer.get("error", ""), answer.get("said") or []

    def does(self, do: str, pod: str, namespace: str = "default") -> list[str]:
        """Ask until there is no error: as kubelet does, though sooner. The CDI names of what it prepared."""
        until(
            lambda: not self.ask(do, pod, namespace)[0],
            lambda: f"kubelet to {do} {pod}: {self.ask(do, pod, namespace)[0]}",
        )
        return self.ask("devices", pod, namespace)[1] if do == "prepare" else []

    def end(self) -> None:
        """By SIGKILL, in the middle of what it does; who asks for that hears an error."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.end()
        self._process.communicate()
        self._log.close()
