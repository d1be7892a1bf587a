"""`make demo`: the guide, on a real kind cluster with simulated GPUs.

Brings the cluster up, rolls everything out with `ansible-playbook playbooks/site.yml`, submits the
guide's two workloads and prints what the guide prints. Every command is shown as a person would type it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from . import go_programs, node_image, product, versions
from .__main__ import up
from .cluster import Cluster
from .progress import StepFailed
from .terminal import on_terminal

GUIDE = versions.REPO / "tests/guide"
GUIDE_IMAGE = "nvidia/cuda:13.0.1-base-ubi9"


def main() -> int:
    cluster = Cluster()
    started = time.monotonic()
    try:
        up(cluster, versions.KUBERNETES[versions.DEFAULT_KUBERNETES])
        roll_out(cluster)
        show_system(cluster)
        show_native_mode(cluster)
        show_compatibility_mode(cluster)
    except StepFailed as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    print(
        f"\nDone in {minutes}:{seconds:02d}; the GPUs are simulated. To look around in this shell:\n"
        f"  export KUBECONFIG={cluster.kubeconfig}\n"
        f"  export PATH={os.pathsep.join(_programs())}:$PATH\n"
        "  hami status\n"
        "`make demo-down` removes the cluster."
    )
    return 0


def roll_out(cluster: Cluster) -> None:
    """Run site.yml on the cluster; its output is the progress."""
    command = [
        versions.REPO / ".venv/bin/ansible-playbook",
        *("-i", cluster.inventory),
        *("-e", f"@{cluster.image_variables}"),
        "playbooks/site.yml",
    ]
    _type("ansible-playbook", "-i", "inventory.yml", "playbooks/site.yml")
    code = subprocess.run(command, cwd=versions.REPO, env=environment()).returncode
    if code != 0:
        raise StepFailed(f"site.yml ended with exit code {code}; its output is above")


def show_system(cluster: Cluster) -> None:
    _title("What runs now")
    _kubectl(cluster, "-n", "hami-system", "get", "pods")
    _kubectl(cluster, "get", "resourceslice")
    first = cluster.kubectl("get", "resourceslice", "-o", "name").splitlines()[0]
    _kubectl(cluster, "get", first, "-o", "yaml")


def show_native_mode(cluster: Cluster) -> None:
    _title("Native DRA mode: a ResourceClaim of 10 GiB and 50 cores")
    _workload(cluster, "native.yaml", pod="gpu-test-dra-native", claim="gpu-half-claim")


def show_compatibility_mode(cluster: Cluster) -> None:
    _title("Compatibility mode: nvidia.com/gpu, gpumem and gpucores in the limits")
    _workload(cluster, "compatible.yaml", pod="gpu-test-compatible", claim="default-gpu-test-compatible-cuda")


def guide_manifest(name: str) -> str:
    """A manifest of the guide with its image replaced by the local workload image."""
    text = (GUIDE / name).read_text()
    assert GUIDE_IMAGE in text
    return text.replace(GUIDE_IMAGE, product.WORKLOAD)


def environment() -> dict[str, str]:
    """PATH with helm, kubectl and the virtual environment, for Ansible."""
    return dict(os.environ) | {"PATH": os.pathsep.join([*_programs(), os.environ["PATH"]])}


def _programs() -> list[str]:
    """Folders with hami and Ansible, helm, and kubectl."""
    folders = (
        versions.REPO / ".venv/bin",
        go_programs.build(go_programs.HELM),
        node_image.tools() / "usr/bin",
    )
    return [str(folder) for folder in folders]


def _workload(cluster: Cluster, manifest: str, *, pod: str, claim: str) -> None:
    # A Pod that was converted differs from its manifest and cannot be changed: made anew if it is there.
    there = cluster.kubectl("get", "pod", pod, "--ignore-not-found", "--output", "name")
    how = ("replace", "--force") if there else ("apply",)
    _type("kubectl", *how, "-f", manifest)
    applied = cluster.kubectl(*how, "-f", "-", stdin=guide_manifest(manifest).encode())
    print(applied, end="", flush=True)
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=90s")
    _kubectl(cluster, "get", "pod", pod)
    _kubectl(cluster, "get", "resourceclaim", claim)
    _kubectl(cluster, "get", "resourceclaim", claim, "-o", "yaml")
    # A terminal of its own, where the limiter says that it is there.
    look = ["exec", "-it", pod, "--", "nvidia-smi"]
    _type("kubectl", *look)
    print(on_terminal([*cluster.kubectl_command, *look]), end="")


def _kubectl(cluster: Cluster, *arguments: str) -> None:
    _type("kubectl", *arguments)
    print(cluster.kubectl(*arguments), end="", flush=True)


def _type(*command: str | Path) -> None:
    print(f"\n$ {shlex.join(str(part) for part in command)}", flush=True)


def _title(text: str) -> None:
    print(f"\n=== {text} {'=' * max(3, 90 - len(text))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
