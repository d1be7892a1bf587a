"""`python -m tests.cluster.previous`: the previous release, its chart and its image, ready in the cluster.

Both are made from git: of the newest release tag or, as long as there is none, of the commit PREVIOUS. What
Ansible needs to roll it out is then in `previous.yml` beside the cluster's inventory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import product, versions
from .cluster import Cluster
from .progress import StepFailed, run, step

PREVIOUS = "732b845"
TREE = versions.REPO / "build/previous"


def previous() -> str:
    """The newest release tag before this commit, or PREVIOUS."""
    described = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"],
        cwd=versions.REPO,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip() or PREVIOUS


def lay_out() -> Path:
    """The sources of the previous release, with its native libraries built."""
    commit = previous()
    marker = TREE / ".commit"
    if marker.is_file() and marker.read_text() == commit:
        return TREE
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    with step(f"lay out the previous release ({commit}) and compile its native libraries", "1 min"):
        archive = TREE / "sources.tar"
        run(["git", "archive", f"--output={archive}", commit], cwd=versions.REPO)
        run(["tar", "--extract", "--file", archive, "--directory", TREE])
        archive.unlink()
        python = f"PYTHON={versions.REPO / '.venv/bin/python'}"
        run(["make", "--silent", "-C", TREE / "native", "release", python], env=dict(os.environ))
    marker.write_text(commit)
    return TREE


def load(cluster: Cluster) -> None:
    """Build the previous release's image, load it into the nodes and write what Ansible needs."""
    tree = lay_out()
    tag = product.build(tree)
    cluster.load(tag)
    variables = f"hami_chart: {tree / 'charts/hami'}\n{product.image_variables(tag)}"
    (cluster.folder / "previous.yml").write_text(variables)


def main() -> int:
    try:
        load(Cluster())
    except StepFailed as problem:
        print(f"tests.cluster.previous: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
