"""`python -m tests.cluster.collection PLAYBOOK`: as somebody runs it who has the collection and no checkout.

The collection is built from this tree, installed without a network into a folder elsewhere, and its PLAYBOOK
is run from there on the cluster. A run that changes anything is a failure: it is meant to be the second.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import demo, versions
from .cluster import Cluster
from .progress import StepFailed, run

BIN = Path(sys.executable).parent
NAME = "hami.dra"


def build(folder: Path) -> Path:
    """The collection of this tree as an archive in FOLDER."""
    run([BIN / "ansible-galaxy", "collection", "build", "--output-path", folder], cwd=versions.REPO)
    (archive,) = folder.glob("*.tar.gz")
    return archive


def install(archive: Path, folder: Path) -> Path:
    """Install ARCHIVE below FOLDER, as on a site without internet; where it lies then."""
    run([BIN / "ansible-galaxy", "collection", "install", "--offline", "--force", "-p", folder, archive])
    (folder / "ansible.cfg").touch()  # nobody's settings count, not even those of the home folder
    return folder / "ansible_collections" / NAME.replace(".", "/")


def environment(folder: Path, outer: Mapping[str, str]) -> dict[str, str]:
    """OUTER without what leads Ansible, or Molecule's, to this checkout; FOLDER has the collection."""
    kept = {name: value for name, value in outer.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    settings = {
        "ANSIBLE_CONFIG": folder / "ansible.cfg",
        "ANSIBLE_COLLECTIONS_PATH": folder,
        # The test cluster's nodes are containers; the collection has nothing for them.
        "ANSIBLE_CONNECTION_PLUGINS": versions.REPO / "tests/cluster/connection",
        "ANSIBLE_PIPELINING": True,
        "ANSIBLE_NOCOLOR": True,
    }
    return kept | {name: str(value) for name, value in settings.items()}


def changes(output: str) -> list[str]:
    """The tasks that changed something, as `task: host`, in the order of a run's OUTPUT."""
    found, task = [], ""
    for line in output.splitlines():
        if heading := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*?)\] \*", line):
            task = heading[1]
        elif changed := re.match(r"changed: \[(.*?)[ \]]", line):
            found.append(f"{task}: {changed[1]}")
    return found


def main() -> int:
    """Build, install, run, and require that nothing changed."""
    cluster = Cluster()
    with tempfile.TemporaryDirectory(prefix="hami-collection-") as name:
        folder = Path(name)
        try:
            install(build(folder), folder)
            arguments = ["-i", cluster.inventory, "-e", f"@{cluster.image_variables}"]
            output = run(
                [BIN / "ansible-playbook", *arguments, f"{NAME}.{sys.argv[1]}"],
                cwd=folder,
                env=environment(folder, demo.environment()),
            )
        except StepFailed as problem:
            print(f"collection: {problem}", file=sys.stderr)
            return 1
    if changed := changes(output):
        print(f"collection: {NAME}.{sys.argv[1]} changed something:", *changed, sep="\n  ", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
