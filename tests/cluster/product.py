"""The images under test: our own product image, and a workload image with the simulated samples."""

from __future__ import annotations

import os
import re
from pathlib import Path

from . import debian, podman, versions
from .progress import run, step

PYTHON_PACKAGES = ("python3-minimal", "libpython3.11-stdlib", "libstdc++6")
REPOSITORY = "localhost/hami-dra/hami-dra"
WORKLOAD = "localhost/hami-dra/workload:local"


def version() -> str:
    """The package's version, from the one place where it stands."""
    text = (versions.REPO / "src/hami_dra/__init__.py").read_text()
    match = re.search(r'__version__ = "([^"]+)"', text)
    assert match is not None
    return match.group(1)


def build() -> str:
    """Build both images as needed and return the product image's tag.

    The tag carries a digest of what is inside, so that a changed program is a changed Deployment.
    """
    key = versions.digest(
        versions.REPO / "src",
        versions.REPO / "native/src",
        versions.REPO / "native/sim",
        versions.REPO / "native/include",
        versions.REPO / "requirements/runtime.txt",
        versions.REPO / "Containerfile",
        versions.REPO / "scripts/stage-image",
    )
    tag = f"{REPOSITORY}:{version()}-{key}"
    if podman.image_exists(tag) and podman.image_exists(WORKLOAD):
        return tag
    base = _base()
    with step("stage the product: native libraries, locked dependencies, our package", "40 s") as running:
        run(
            [versions.REPO / "scripts/stage-image"],
            cwd=versions.REPO,
            env=dict(os.environ) | {"PYTHON": str(versions.REPO / ".venv/bin/python")},
            on_line=lambda line: running.note(line[:70]),
        )
    with step("build the product image from Containerfile", "20 s"):
        podman.podman("build", "--quiet", "--build-arg", f"BASE={base}", "--tag", tag, versions.REPO)
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


def _base() -> str:
    """A local Debian with Python, where docker.io's cannot be pulled."""
    key = versions.digest("product-base", *PYTHON_PACKAGES)
    tag = f"localhost/hami-dra/debian:{versions.DEBIAN_SUITE}-{key}"
    if not podman.image_exists(tag):
        tar = debian.root_file_system("product", PYTHON_PACKAGES)
        podman.import_image(tar, tag)
    return tag
