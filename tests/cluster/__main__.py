"""`python -m tests.cluster up | images | down`: the real cluster that tests and `make demo` use.

`base` makes the image that ours are built over, and prints its tag.
"""

from __future__ import annotations

import argparse
import sys

from . import debian, product, versions
from .cluster import Cluster
from .progress import StepFailed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("command", choices=["up", "images", "down", "base"])
    parser.add_argument("--name", default=Cluster().name, help="also the variable HAMI_CLUSTER")
    parser.add_argument(
        "--kubernetes",
        default=versions.DEFAULT_KUBERNETES,
        choices=versions.KUBERNETES,
        help="also the variable HAMI_KUBERNETES",
    )
    arguments = parser.parse_args()
    cluster = Cluster(arguments.name)
    try:
        if arguments.command == "up":
            up(cluster, versions.KUBERNETES[arguments.kubernetes])
        elif arguments.command == "images":
            load_images(cluster)
        elif arguments.command == "base":
            debian.install()
            print(product.debian_base())
        else:
            cluster.delete()
    except StepFailed as problem:
        print(f"tests.cluster: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def up(cluster: Cluster, release: versions.Kubernetes) -> None:
    """Bring the cluster up with our images in it; one that is there and answers is kept."""
    debian.install()
    there = bool(cluster.nodes()) or cluster.folder.exists()
    problem = cluster.problem(release) if there else "not there"
    if problem:
        if there:
            print(f" ! {cluster.name} is made anew: {problem}", file=sys.stderr, flush=True)
            cluster.delete()
        try:
            cluster.create(release)
        except BaseException:
            cluster.delete()
            raise
    load_images(cluster)


def load_images(cluster: Cluster) -> None:
    """Build the images under test and load them into the nodes when they changed."""
    tag = product.build()
    loaded = cluster.folder / "loaded"
    if not loaded.is_file() or loaded.read_text() != tag:
        cluster.load(tag, product.WORKLOAD)
        loaded.write_text(tag)
    cluster.image_variables.write_text(product.image_variables(tag))


if __name__ == "__main__":
    sys.exit(main())
