"""Every command block of the documentation that needs a cluster, on one with simulated GPUs."""

import os
import subprocess
import sys

import pytest
import yaml

from tests.cluster.demo import GUIDE_IMAGE, environment
from tests.cluster.product import WORKLOAD
from tests.cluster.versions import REPO
from tests.docs import blocks


def reader(cluster, namespace, folder):
    """The environment of a reader: a kubeconfig whose namespace is this test's, and the tools in PATH."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    for entry in config["contexts"]:
        entry["context"]["namespace"] = namespace.namespace
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    tools = f"{os.path.dirname(sys.executable)}:{environment()['PATH']}"
    return dict(os.environ) | {"KUBECONFIG": str(path), "PATH": tools, "HOME": str(folder)}


@pytest.mark.parametrize("block", blocks.commands("cluster"), ids=lambda block: block.id)
def test_a_block_that_needs_a_cluster_does_what_the_page_says(block, cluster, namespace, tmp_path):
    script = block.text.replace(GUIDE_IMAGE, WORKLOAD)
    # Where any exit code is right (the doctor may warn of cgroup v1), the other lines run all the same.
    strict = "-uo" if block.exit == "any" else "-euo"
    done = subprocess.run(
        ["bash", strict, "pipefail", "-c", script],
        cwd=REPO,
        env=reader(cluster, namespace, tmp_path),
        capture_output=True,
        text=True,
    )
    assert block.exit in ("any", str(done.returncode)), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
