"""Discovery through NVML, for real, with the simulated driver: `hami slice --sim`."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.node.test_slices import without_sharing

pytestmark = pytest.mark.native


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated cards' memory goes with the test."""
    monkeypatch.setenv("HAMI_SIM_STATE", str(tmp_path / "state"))


TESTS = Path(__file__).parents[2]
GUIDE = TESTS / "guide"


BESIDE_THE_GUIDE = ("resource.kubernetes.io/pciBusID", "numaNode")


def hami_slice(simulation: Path, *options: str) -> subprocess.CompletedProcess[str]:
    code = "from hami_dra.cli.main import main; main()"
    command = [sys.executable, "-c", code, "slice", "--node", "ecs-a10-sh", "--sim", str(simulation)]
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent / "src")}
    return subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)


def two_cards(tmp_path: Path, **change: Any) -> Path:
    body = yaml.safe_load((GUIDE / "gpus-a10.yaml").read_text())
    (card,) = body["gpus"]
    second = card | {"uuid": "GPU-00000000-0000-0000-0000-000000000002", "minor": 1} | change
    second["pciBusId"] = "0000:66:01.0"
    body["gpus"] = [second, card]
    path = tmp_path / "gpus.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


def test_the_guides_node_prints_the_guides_slice_in_under_two_seconds() -> None:
    # Processor time: whatever else the machine does.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = hami_slice(GUIDE / "gpus-a10.yaml")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0, done.stderr
    expected = yaml.safe_load((GUIDE / "resourceslice.expected.yaml").read_text())
    del expected["metadata"]["ownerReferences"]  # no cluster is asked for the Node's uid
    got = without_sharing(yaml.safe_load(done.stdout))
    (card,) = got["spec"]["devices"]
    beside = {name: card["attributes"].pop(name) for name in BESIDE_THE_GUIDE}
    assert beside["resource.kubernetes.io/pciBusID"] == card["attributes"]["pcieBusID"]
    assert got == expected
    assert took < 2


def test_yaml_and_json_say_the_same() -> None:
    path = GUIDE / "gpus-a10.yaml"
    assert json.loads(hami_slice(path, "-o", "json").stdout) == yaml.safe_load(hami_slice(path).stdout)


def test_two_cards_come_in_order_of_minor_and_each_has_its_own_root(tmp_path: Path) -> None:
    done = hami_slice(two_cards(tmp_path, pcieRoot="pci0000:70"))
    devices = yaml.safe_load(done.stdout)["spec"]["devices"]
    roots = [device["attributes"]["resource.kubernetes.io/pcieRoot"]["string"] for device in devices]
    assert [device["name"] for device in devices] == ["hami-gpu-0", "hami-gpu-1"]
    assert roots == ["pci0000:64", "pci0000:70"]


@pytest.mark.parametrize("text", ["gpus: 5\n", "[]\n", ": {", "gpus: [{minor: 0}]\n"])
def test_a_file_that_describes_no_cards_stops_with_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    done = hami_slice(path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("hami: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_not_there_is_named() -> None:
    done = hami_slice(Path("nowhere.yaml"))
    assert (done.returncode, "nowhere.yaml: no such file" in done.stderr) == (1, True)


def slices_of(*options: str) -> list[dict[str, Any]]:
    code = "from hami_dra.cli.main import main; main()"
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent / "src")}
    command = [sys.executable, "-c", code, "slice", "--node", "n1", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def test_a_simulated_host_shows_a_slice_for_each_of_its_families() -> None:
    found = {item["spec"]["driver"]: item["spec"] for item in slices_of("--tree", str(TESTS / "trees/mixed"))}
    assert {driver.partition(".")[0]: len(spec["devices"]) for driver, spec in found.items()} == {
        "hami-core-gpu": 2,
        "amd": 4,
        "ascend": 8,
        "neuron": 8,
    }
    assert {(spec["nodeName"], spec["pool"]["name"]) for spec in found.values()} == {("n1", "n1")}
    cores = [device["capacity"]["cores"]["value"] for device in found["neuron.project-hami.io"]["devices"]]
    assert sum(map(int, cores)) == 16
    products = {
        device["attributes"]["productName"]["string"] for spec in found.values() for device in spec["devices"]
    }
    assert products == {"NVIDIA A10", "AMD Instinct MI300X", "Ascend910B3", "Trainium1"}


def test_one_family_can_be_asked_for_alone_and_one_of_ones_own() -> None:
    tree = str(TESTS / "trees/others")
    (vastai,) = slices_of("--tree", tree, "--family", "vastai")
    assert [device["name"] for device in vastai["spec"]["devices"]] == ["va-0", "va-1"]
    examples = str(TESTS.parent / "docs/examples")
    (acme,) = slices_of("--tree", tree, "--family", "acme", "--profiles", examples)
    assert (acme["spec"]["driver"], acme["spec"].get("devices")) == ("acme.project-hami.io", [])
