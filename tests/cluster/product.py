"""The images under test: our own product image, and a workload image with the simulated samples."""

from __future__ import annotations

import os
import re
from pathlib import Path

from . import debian, podman, versions
from .progress import run, step

PYTHON_PACKAGES = ("python3-minimal", "libpython3.11-stdlib", "libstdc++6")
SIMULATED = ("libcuda.so.1", "libnvidia-ml.so.1", "nvidia-smi", "hami-fill", "hami-burn")
NATIVE = ("libvgpu.so", *(f"sim/{name}" for name in SIMULATED))
REPOSITORY = "localhost/hami-dra/hami-dra"
WORKLOAD = "localhost/hami-dra/workload:local"


def version(tree: Path = versions.REPO) -> str:
    """The package's version, from the one place where it stands."""
    text = (tree / "src/hami_dra/__init__.py").read_text()
    match = re.search(r'__version__ = "([^"]+)"', text)
    assert match is not None
    return match.group(1)


def build(tree: Path = versions.REPO) -> str:
    """Build the images of the sources in TREE as needed and return the product image's tag.

    The tag carries a digest of what is inside, so that a changed program is a changed Deployment. The
    workload image is always this tree's.
    """
    key = versions.digest(
        tree / "src",
        *(tree / "native/build" / name for name in NATIVE),  # as built, which may be older than its source
        tree / "requirements/runtime.txt",
        tree / "Containerfile",
        tree / "scripts/stage-image",
    )
    tag = f"{REPOSITORY}:{version(tree)}-{key}"
    if podman.image_exists(tag) and podman.image_exists(WORKLOAD):
        return tag
    base = debian_base()
    with step("stage the product: native libraries, locked dependencies, our package", "40 s") as running:
        run(
            [tree / "scripts/stage-image"],
            cwd=tree,
            env=dict(os.environ) | {"PYTHON": str(versions.REPO / ".venv/bin/python")},
            on_line=lambda line: running.note(line[:70]),
        )
    with step("build the product image from Containerfile", "20 s"):
        podman.podman("build", "--quiet", "--build-arg", f"BASE={base}", "--tag", tag, tree)
    with step("build the workload image", "5 s"):
        podman.podman(
            "build",
            "--quiet",
            "--build-arg",
            f"BASE={base}",
            "--tag",
            WORKLOAD,
            "--file",
            Path(__file__).parent / "workload.Containerfile",
            versions.REPO / "native/build/sim",
        )
    return tag


def image_variables(tag: str) -> str:
    """Ansible variables, as YAML, that name the image TAG in the nodes."""
    repository, _, version = tag.rpartition(":")
    registry, _, name = repository.partition("/")
    return f'hami_image: {{registry: {registry}, repository: {name}, tag: "{version}"}}\n'


def debian_base() -> str:
    """A local Debian with Python, where docker.io's cannot be pulled; made when it is not there yet."""
    key = versions.digest("product-base", *PYTHON_PACKAGES)
    tag = f"localhost/hami-dra/debian:{versions.DEBIAN_SUITE}-{key}"
    if not podman.image_exists(tag):
        tar = debian.root_file_system("product", PYTHON_PACKAGES)
        podman.import_image(tar, tag)
    return tag
