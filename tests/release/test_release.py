"""`make release` without its image: what is in the files, that they work, and that they come out the same."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
import yaml

from hami_dra import __version__
from tests.cluster.versions import REPO

pytestmark = [pytest.mark.native, pytest.mark.slow]

NATIVE = {
    "libvgpu.so",
    "sim/libcuda.so.1",
    "sim/libnvidia-ml.so.1",
    "sim/nvidia-smi",
    "sim/hami-fill",
    "sim/hami-burn",
}


def release(folder: Path, **environment: str) -> dict[str, Path]:
    environment = {**os.environ, "RELEASE_IMAGE": "skip", "SOURCE_DATE_EPOCH": "1760000000", **environment}
    command = [sys.executable, str(REPO / "scripts/release/build.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return release(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(made):
    (found,) = (path for name, path in made.items() if name.endswith(".whl"))
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel in a virtual environment of its own, with the dependencies of this one behind it."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    pip = [
        str(folder / "bin/python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(pip, check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "behind.pth").write_text(str(Path(pytest.__file__).parents[1]) + "\n")
    return folder


def test_everything_is_there_and_the_checksums_are_right(made):
    expected = {f"hami-{__version__}.tgz", f"hami-dra-{__version__}.tar.gz", f"hami_dra-{__version__}.tar.gz"}
    assert expected | {"sbom.cdx.json", "SHA256SUMS"} < made.keys()
    sums = dict(reversed(line.split("  ")) for line in made["SHA256SUMS"].read_text().splitlines())
    assert sums.keys() == made.keys() - {"SHA256SUMS"}
    for name, checksum in sums.items():
        assert hashlib.sha256(made[name].read_bytes()).hexdigest() == checksum


def test_a_second_build_gives_the_same_bytes_in_another_locale_and_time_zone(made, tmp_path):
    again = release(tmp_path, LC_ALL="C", TZ="Asia/Tokyo")
    different = [name for name in made if made[name].read_bytes() != again[name].read_bytes()]
    assert different == []


def test_the_wheel_carries_the_native_parts_for_any_linux_of_x86_64(wheel, installed):
    assert "manylinux2014_x86_64" in wheel.name
    (folder,) = installed.glob("lib/python*/site-packages/hami_dra/_native")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == NATIVE
    for name in NATIVE:
        told = subprocess.run(
            ["readelf", "-V", folder / name], capture_output=True, text=True, check=True
        ).stdout
        needed = [int(minor) for minor in re.findall(r"Name: GLIBC_2\.(\d+)\S*  Flags: \w+  Version", told)]
        assert max(needed) <= 17, name
        assert os.access(folder / name, os.X_OK), f"{name} cannot run"


def test_the_installed_wheel_runs_a_program_under_a_share(installed, tmp_path):
    """Outside of the checkout, with nothing of it in reach."""
    cards = tmp_path / "gpus.yaml"
    cards.write_bytes((REPO / "tests/guide/gpus-a10.yaml").read_bytes())
    environment = {"PATH": f"{installed}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}

    def hami(*arguments):
        return subprocess.run(
            [str(installed / "bin/hami"), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    shown = hami("run", "--sim", str(cards), "--memory", "10Gi", "--", "nvidia-smi")
    assert "10240MiB" in shown.stdout, shown.stderr
    refused = hami("run", "--sim", str(cards), "--memory", "1Gi", "--", "hami-fill", "--total", "2Gi")
    assert "CUDA_ERROR_OUT_OF_MEMORY" in refused.stdout + refused.stderr
    assert hami("--version").stdout.strip().endswith(__version__)
    found = "import hami_dra; print(hami_dra.__file__)"
    where = subprocess.run(
        [str(installed / "bin/python"), "-c", found], capture_output=True, text=True, cwd=tmp_path
    )
    assert str(installed) in where.stdout


def test_the_packaged_chart_is_the_one_in_the_tree(made, render):
    line = f"helm -n hami-system install hami {made[f'hami-{__version__}.tgz']} --set dra.enabled=true"
    assert render(line=line) == render()


def test_the_collection_has_what_a_rollout_needs_and_nothing_of_the_workshop(made):
    with tarfile.open(made[f"hami-dra-{__version__}.tar.gz"]) as archive:
        names = {member.name for member in archive}
        manifest = json.load(archive.extractfile("MANIFEST.json"))
        listed = json.load(archive.extractfile("FILES.json"))["files"]
        for entry in listed:
            if entry["ftype"] == "file":
                data = archive.extractfile(entry["name"]).read()
                assert hashlib.sha256(data).hexdigest() == entry["chksum_sha256"], entry["name"]
    assert manifest["collection_info"]["version"] == __version__
    assert {"playbooks/site.yml", "roles/preflight/tasks/main.yml", "charts/hami/Chart.yaml"} <= names
    assert {name.split("/")[0] for name in names} & {
        "tests",
        "src",
        "docs",
        "molecule",
        "dist",
        ".git",
    } == set()


def test_the_collection_is_installed_without_a_network(made, tmp_path):
    archive = made[f"hami-dra-{__version__}.tar.gz"]
    galaxy = Path(sys.executable).parent / "ansible-galaxy"
    command = [galaxy, "collection", "install", "--offline", "--force", "-p", tmp_path, archive]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "ansible_collections/hami/dra/playbooks/site.yml").is_file()


def test_the_sbom_tells_every_locked_package_with_its_hashes(made):
    sbom = json.loads(made["sbom.cdx.json"].read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom["metadata"]["component"]["version"] == __version__
    told = {component["name"]: component for component in sbom["components"]}
    locked = re.findall(
        r"^([A-Za-z0-9._-]+)==(\S+)", (REPO / "requirements/runtime.txt").read_text(), re.MULTILINE
    )
    assert len(locked) > 20
    for name, version in locked:
        assert told[name]["version"] == version.rstrip(";\\")
        assert told[name]["hashes"]
    refs = [component["bom-ref"] for component in sbom["components"]]
    assert len(refs) == len(set(refs))
    assert sbom["dependencies"][0]["dependsOn"] == refs


def test_one_version_stands_everywhere():
    assert yaml.safe_load((REPO / "galaxy.yml").read_text())["version"] == __version__
    for chart in ("charts/hami", "charts/hami/charts/hami-dra"):
        described = yaml.safe_load((REPO / chart / "Chart.yaml").read_text())
        assert (described["version"], described["appVersion"]) == (__version__, __version__)


def test_stamping_a_version_reaches_every_place_that_has_one(tmp_path):
    """In a copy of the places alone; a bad version changes nothing."""
    sys.path.insert(0, str(REPO / "scripts/release"))
    import stamp

    for name, _, _ in stamp.PLACES:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((REPO / name).read_text())
    program = tmp_path / "scripts/release/stamp.py"
    program.parent.mkdir(parents=True)
    program.write_text(Path(stamp.__file__).read_text())
    assert subprocess.run([sys.executable, str(program), "one"], capture_output=True).returncode == 1
    assert subprocess.run([sys.executable, str(program), "7.8.9-rc.1"], capture_output=True).returncode == 0
    for name, _, _ in stamp.PLACES:
        text = (tmp_path / name).read_text()
        assert "7.8.9-rc.1" in text
        assert f'"{__version__}"' not in text
