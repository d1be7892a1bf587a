"""The simulated driver: discovery, shared memory, broken files, nvidia-smi."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.unit.native.simulated import A10, BUILD, SimulatedNode, attempts

pytestmark = pytest.mark.native

SECOND_GPU = """\
- productName: NVIDIA H100 80GB HBM3   # another model
  uuid: 'GPU-00000000-1111-2222-3333-444444444444'
  minor: 3
  architecture: Hopper
  computeCapability: "9.0"
  memoryMiB: 81559
  pciBusId: "0001:0a:00.0"
  contextMiB: 500
"""

# The table of the guide, with its blanks closed up, at the whole card and the driver's CUDA version.
TABLE = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 550.144.03 Driver Version: 550.144.03 CUDA Version: 12.4 |
|-----------------------------------------+------------------------+----------------------+
| GPU Name Persistence-M | Bus-Id Disp.A | Volatile Uncorr. ECC |
| Fan Temp Perf Pwr:Usage/Cap | Memory-Usage | GPU-Util Compute M. |
| | | MIG M. |
|=========================================+========================+======================|
| 0 NVIDIA A10 On | 00000000:65:01.0 Off | 0 |
| 0% 32C P8 22W / 150W | 0MiB / 23028MiB | 0% Default |
| | | N/A |
+-----------------------------------------+------------------------+----------------------+
+-----------------------------------------------------------------------------------------+
| Processes: |
| GPU GI CI PID Type Process name GPU Memory |
| ID ID Usage |
|=========================================================================================|
| No running processes found |
+-----------------------------------------------------------------------------------------+
"""


@pytest.fixture
def node(tmp_path: Path) -> SimulatedNode:
    return SimulatedNode(tmp_path, A10.read_text())


@pytest.fixture
def two_gpus(tmp_path: Path) -> SimulatedNode:
    return SimulatedNode(tmp_path, A10.read_text() + SECOND_GPU)


@pytest.fixture
def holder(node: SimulatedNode) -> Iterator[subprocess.Popen[str]]:
    process = node.hold("10Gi")
    yield process
    node.end(process)


DISCOVER = """
import json, pynvml as n
n.nvmlInit()
cards = []
for i in range(n.nvmlDeviceGetCount()):
    h = n.nvmlDeviceGetHandleByIndex(i)
    major, minor = n.nvmlDeviceGetCudaComputeCapability(h)
    cards.append({
        "productName": n.nvmlDeviceGetName(h), "uuid": n.nvmlDeviceGetUUID(h),
        "minor": n.nvmlDeviceGetMinorNumber(h),
        "computeCapability": f"{major}.{minor}", "memoryMiB": n.nvmlDeviceGetMemoryInfo(h).total >> 20,
        "pciBusId": n.nvmlDeviceGetPciInfo(h).busIdLegacy.lower(),
    })
    assert n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByUUID(cards[-1]["uuid"])) == i
    assert n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByPciBusId(cards[-1]["pciBusId"])) == i
print(json.dumps([n.nvmlSystemGetDriverVersion(), n.nvmlSystemGetCudaDriverVersion(), cards]))
"""


def test_pynvml_finds_in_the_simulated_driver_what_the_file_says(two_gpus: SimulatedNode) -> None:
    result = two_gpus.python(DISCOVER)
    assert result.returncode == 0, result.stderr
    driver, cuda, cards = json.loads(result.stdout)
    file = yaml.safe_load(two_gpus.file.read_text())
    assert (driver, cuda) == (file["driverVersion"], 12040)
    assert cards == [{key: card[key] for key in cards[0]} for card in file["gpus"]]


def test_simulated_memory_runs_out_with_the_out_of_memory_error(node: SimulatedNode) -> None:
    result = node.run("hami-fill", "--chunk", "1Gi")
    assert "refused: CUDA_ERROR_OUT_OF_MEMORY (2)" in result.stdout
    assert "allocated 22528 MiB" in result.stdout  # 22 GiB; context and rest are less than the next
    assert result.returncode == 0


def test_two_programs_share_the_memory_of_a_simulated_card(
    node: SimulatedNode, holder: subprocess.Popen[str]
) -> None:
    assert node.query("memory.used") == [str(10240 + 256)]
    refused = node.run("hami-fill", "--total", "13Gi")
    assert refused.returncode == 1
    assert "refused: CUDA_ERROR_OUT_OF_MEMORY (2)" in refused.stdout
    assert node.run("hami-fill", "--total", "11Gi").returncode == 0


def test_memory_of_a_killed_program_is_free_for_the_next_at_once(
    node: SimulatedNode, holder: subprocess.Popen[str]
) -> None:
    node.end(holder)
    assert node.query("memory.used") == ["0"]
    assert node.run("hami-fill", "--total", "22Gi").returncode == 0


def test_nvidia_smi_lists_a_program_that_holds_simulated_memory(
    node: SimulatedNode, holder: subprocess.Popen[str]
) -> None:
    table = node.run("nvidia-smi").stdout
    assert re.search(rf"\|    0   N/A  N/A +{holder.pid}      C   \S*hami-fill +10496MiB \|", table)
    apps = node.run("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader").stdout
    assert apps == f"{holder.pid}, 10496 MiB\n"


def test_programs_of_another_pid_namespace_have_no_entry_but_their_memory_counts(
    node: SimulatedNode, holder: subprocess.Popen[str]
) -> None:
    smi = str(BUILD / "nvidia-smi")
    inside = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", smi],
        env=node.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert inside.returncode == 0, inside.stderr
    assert "No running processes found" in inside.stdout
    assert "10496MiB /  23028MiB" in inside.stdout


def test_nvidia_smi_prints_the_table_of_the_guide(node: SimulatedNode) -> None:
    lines = node.run("nvidia-smi").stdout.splitlines()[1:]
    assert {len(line) for line in lines if line.strip()} == {91}
    closed_up = "\n".join(re.sub(" +", " ", line) for line in lines if line.strip()) + "\n"
    assert closed_up == TABLE


def test_nvidia_smi_names_both_of_two_simulated_cards(two_gpus: SimulatedNode) -> None:
    assert two_gpus.run("nvidia-smi", "-L").stdout == (
        "GPU 0: NVIDIA A10 (UUID: GPU-f1c7d08c-ae21-13e7-0de0-9eb14ff71eaf)\n"
        "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-00000000-1111-2222-3333-444444444444)\n"
    )


def test_memory_of_one_simulated_card_says_nothing_about_the_other(two_gpus: SimulatedNode) -> None:
    process = two_gpus.hold("70Gi", "--device", "1")
    assert two_gpus.query("memory.used") == ["0", str(70 * 1024 + 500)]
    two_gpus.end(process)


def test_cuda_visible_devices_selects_simulated_cards_by_uuid(two_gpus: SimulatedNode) -> None:
    result = two_gpus.run("hami-fill", "--total", "1Mi", CUDA_VISIBLE_DEVICES="GPU-00000000")
    assert "device 0: NVIDIA H100 80GB HBM3" in result.stdout


@pytest.mark.usefixtures("prompt")
def test_two_programs_that_compute_get_half_of_a_simulated_card_each(node: SimulatedNode) -> None:
    def parts() -> list[float]:
        programs = [
            node.start("hami-burn", "--seconds", "3", "--kernel-us", length) for length in ("3000", "100")
        ]
        return [float(re.findall(r"([\d.]+) %", p.communicate()[0])[0]) for p in programs]

    halves = pytest.approx([50, 50], abs=8)
    assert attempts(parts, lambda got: got == halves)[-1] == halves


def test_utilisation_shows_what_a_program_computes_on_a_simulated_card(node: SimulatedNode) -> None:
    process = node.start("hami-burn", "--seconds", "60")
    node.wait_for("pstate", "P0")
    node.end(process)
    assert node.run("hami-burn", "--seconds", "0.1").returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("memoryMiB: 23028", "memoryMiB: lots", 11, "write a whole number"),
        ("memoryMiB:", "memroyMiB:", 11, "unknown key 'memroyMiB'"),
        ("uuid: GPU-f1c7", "uuid: GPU-f1", 6, "is not a GPU UUID"),
        ('cudaVersion: "12.4"', 'cudaVersion: "12.4', 3, "close it"),
        ("  minor: 0", "\tminor: 0", 7, "use spaces"),
        ("gpus:", "gpu:", 4, "unknown key 'gpu'"),
    ],
)
def test_a_broken_file_gives_one_line_with_file_line_and_fix(
    node: SimulatedNode, old: str, new: str, where: int, what: str
) -> None:
    node.file.write_text(node.file.read_text().replace(old, new))
    fill = node.run("hami-fill")
    complaints = [line for line in fill.stderr.splitlines() if line.startswith("nvidia-sim: ")]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"nvidia-sim: {node.file}:{where}: ")
    assert what in complaints[0]
    assert "cuInit: CUDA_ERROR_SYSTEM_NOT_READY (802)" in fill.stderr
    assert fill.returncode == 1
    nvml = node.python("import pynvml; pynvml.nvmlInit()")
    assert nvml.stderr.count("nvidia-sim: ") == 1
    assert "Driver Not Loaded" in nvml.stderr


def test_what_another_version_left_behind_is_made_anew(node: SimulatedNode) -> None:
    assert node.run("hami-fill", "--total", "1Gi").returncode == 0
    state = Path(node.environment["HAMI_SIM_STATE"])
    left = bytearray(state.read_bytes()[:-64])
    left[8] ^= 0xFF  # the version follows the eight bytes of the magic
    state.write_bytes(left)
    assert node.run("hami-fill", "--total", "1Gi").returncode == 0


def test_a_state_file_that_is_none_is_refused_and_left_alone(node: SimulatedNode) -> None:
    state = Path(node.environment["HAMI_SIM_STATE"])
    state.write_text("something else")
    result = node.run("hami-fill")
    assert result.stderr.count("nvidia-sim: ") == 1
    assert f"{state}: is no state file of simulated GPUs" in result.stderr
    assert state.read_text() == "something else"


def test_programs_of_any_user_can_use_the_state_whatever_the_umask(node: SimulatedNode) -> None:
    before = os.umask(0o077)
    try:
        node.query("memory.used")
    finally:
        os.umask(before)
    assert Path(node.environment["HAMI_SIM_STATE"]).stat().st_mode & 0o777 == 0o666


def test_cards_without_a_device_node_are_hidden_when_the_file_asks_for_it(node: SimulatedNode) -> None:
    node.file.write_text("needDeviceNode: true\n" + node.file.read_text().replace("minor: 0", "minor: 250"))
    assert node.run("nvidia-smi").stdout == "No devices were found\n"


def test_libraries_of_a_simulated_driver_root_find_their_file_and_state_below_it(
    node: SimulatedNode, tmp_path: Path
) -> None:
    root = tmp_path / "var" / "lib" / "driver"
    for folder in ("usr/lib64", "etc/hami-sim", "var/lib/hami-sim"):
        (root / folder).mkdir(parents=True)
    shutil.copy(BUILD / "libnvidia-ml.so.1", root / "usr/lib64")
    shutil.copy(A10, root / "etc/hami-sim/gpus.yaml")
    environment = {"LD_LIBRARY_PATH": str(root / "usr/lib64"), "HAMI_SIM_FILE": "", "HAMI_SIM_STATE": ""}
    result = node.run("nvidia-smi", "-L", **environment)
    assert "NVIDIA A10" in result.stdout, result.stderr
    assert (root / "var/lib/hami-sim/state").exists()
