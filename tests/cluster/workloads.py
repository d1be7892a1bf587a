"""`python -m tests.cluster.workloads [look]`: start the guide's two workloads, or look into them.

`look` requires that both still have their 10 GiB, and that an allocation beyond them is refused.
"""

from __future__ import annotations

import sys

from .cluster import Cluster
from .demo import guide_manifest
from .progress import StepFailed

PODS = {"native.yaml": "gpu-test-dra-native", "compatible.yaml": "gpu-test-compatible"}


def start(cluster: Cluster) -> None:
    for manifest, pod in PODS.items():
        cluster.kubectl("apply", "-f", "-", stdin=guide_manifest(manifest).encode())
        cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=120s")


def look(cluster: Cluster) -> None:
    for pod in PODS.values():
        table = cluster.kubectl("exec", pod, "--", "nvidia-smi")
        if "10240MiB" not in table:
            raise StepFailed(f"{pod} does not see its 10 GiB any more:\n{table}")
        cluster.kubectl("exec", pod, "--", "hami-fill", "--total", "1Gi")
        try:
            cluster.kubectl("exec", pod, "--", "hami-fill", "--total", "11Gi")
        except StepFailed:
            continue
        raise StepFailed(f"{pod} could allocate 11 GiB of its 10")


def main() -> int:
    try:
        (look if sys.argv[1:] == ["look"] else start)(Cluster())
    except StepFailed as problem:
        print(f"workloads: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
