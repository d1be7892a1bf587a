"""`make release`: everything that a release consists of, in dist/, the same bytes whenever it is made.

    hami_dra-VERSION-py3-none-manylinux*.whl     the command, with the native libraries
    hami_dra-VERSION.tar.gz                      its source
    hami-VERSION.tgz                             the chart
    hami-dra-VERSION.tar.gz                      the Ansible collection
    hami-dra-image-VERSION-amd64.tar.gz          the image, for `podman load` or `ctr images import`
    sbom.cdx.json, SHA256SUMS

Times are those of SOURCE_DATE_EPOCH, by default of the last commit. RELEASE_IMAGE=skip leaves the image out,
where there is no podman; RELEASE_BASE names another base image than the Containerfile's. Where that one
cannot be pulled, the image is built over a Debian made of its packages, as the test cluster's is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import archive
import sbom
import yaml

REPO = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def main() -> int:
    """Build everything into the folder of the first argument, dist/ by default."""
    into = Path(sys.argv[1] if len(sys.argv) > 1 else REPO / "dist").resolve()
    into.mkdir(parents=True, exist_ok=True)
    for old in into.iterdir():
        old.unlink()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _run("git", "log", "-1", "--format=%ct"))
    # Ansible refuses to work in the locale C.
    os.environ |= {"SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}
    version = _version()
    _say("wheel and sdist")
    _run(
        str(BIN / "python"),
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--sdist",
        "--outdir",
        str(into),
        str(REPO),
    )
    _say("chart")
    chart = REPO / "charts/hami"
    archive.pack(into / f"hami-{version}.tgz", archive.folder(chart, "hami", tracked(chart)), epoch)
    _say("collection")
    collection(into / f"hami-dra-{version}.tar.gz", epoch)
    if os.environ.get("RELEASE_IMAGE") == "skip":
        _say("image: left out, because RELEASE_IMAGE=skip")
    else:
        _say("image")
        image(into / f"hami-dra-image-{version}-amd64.tar.gz", version, epoch)
    _say("SBOM and checksums")
    (into / "sbom.cdx.json").write_text(json.dumps(sbom.document(REPO, version, epoch), indent=1) + "\n")
    made = sorted(path for path in into.iterdir() if path.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made]
    (into / "SHA256SUMS").write_text("".join(sums))
    for path in made:
        print(f"{path.stat().st_size:>10}  {path}")
    return 0


def tracked(folder: Path) -> list[Path]:
    """The files below FOLDER that git knows: what lies about does not get into a release."""
    listed = _run("git", "ls-files", "-z", "--", str(folder)).split("\0")
    return [REPO / name for name in listed if name]


def collection(path: Path, epoch: int) -> None:
    """As ansible-galaxy builds it, with our times in it."""
    with tempfile.TemporaryDirectory() as scratch:
        _run(
            str(BIN / "ansible-galaxy"), "collection", "build", "--force", "--output-path", scratch, str(REPO)
        )
        (built,) = Path(scratch).glob("*.tar.gz")
        archive.pack(path, archive.unpacked(built), epoch)


def image(path: Path, version: str, epoch: int) -> None:
    """Built from Containerfile over RELEASE_BASE and saved in the form that every engine reads.

    Its name is the one that the chart asks for: where the archive was loaded, the chart's own values find it.
    """
    python = {"PYTHON": str(BIN / "python")}
    _run(str(REPO / "scripts/stage-image"), env=python)
    named = yaml.safe_load((REPO / "charts/hami/charts/hami-dra/values.yaml").read_text())["image"]
    tag = f"{named['registry']}/{named['repository']}:{version}"
    over = f"BASE={os.environ.get('RELEASE_BASE') or base()}"
    build = ("podman", "build", "--quiet", "--timestamp", str(epoch), "--build-arg", over)
    _run(*build, "--tag", tag, str(REPO))
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "image.tar"
        _run("podman", "save", "--quiet", "--format", "docker-archive", "--output", str(saved), tag)
        archive.pack(path, archive.unpacked(saved), epoch)


def base() -> str:
    """The Containerfile's base image, or ours where that cannot be had."""
    found = re.search(r"^ARG BASE=(\S+)$", (REPO / "Containerfile").read_text(), re.MULTILINE)
    assert found is not None  # noqa: S101  a constant of this repository
    pull = ("podman", "pull", "--quiet", found[1])
    if subprocess.run(pull, cwd=REPO, capture_output=True).returncode == 0:
        return found[1]
    _say(f"image: {found[1]} cannot be pulled here, so over a Debian made of its packages (RELEASE_BASE)")
    return _run(str(BIN / "python"), "-m", "tests.cluster", "base").split()[-1]


def _version() -> str:
    """The one place where it stands."""
    found = re.search(r'__version__ = "([^"]+)"', (REPO / "src/hami_dra/__init__.py").read_text())
    assert found is not None  # noqa: S101  a constant of this repository
    return found[1]


def _run(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=REPO, env=os.environ | (env or {}), capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr, sep="", file=sys.stderr)
        raise SystemExit(
            f"release: {' '.join(command[:3])} ended with exit code {done.returncode}, see above"
        )
    return done.stdout


def _say(what: str) -> None:
    print(f"release: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
