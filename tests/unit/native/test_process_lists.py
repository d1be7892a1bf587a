"""What NVML and nvidia-smi answer in a share when they are asked for the processes of the card."""

import sys

import pytest

from hami_dra.model import ledger
from hami_dra.observe import ledgers
from tests.unit.native.in_share import CONTEXT_MIB, FOREVER, GIB, add_share, ends, waits_for

pytestmark = pytest.mark.native


def test_a_process_list_names_the_processes_of_the_share_and_no_others(share, tmp_path, limited):
    other = add_share(tmp_path / "elsewhere", "other", 10 * GIB)
    ours = limited(share, "hami-fill", "--total", "1Gi", "--hold", FOREVER)
    theirs = limited(other, "hami-fill", "--total", "2Gi", "--hold", FOREVER)
    waits_for(ours, "OK")
    waits_for(theirs, "OK")
    query = ("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
    _, seen, _ = ends(limited(share, *query))
    assert seen.split(", ") == [str(ours.pid), f"{1024 + CONTEXT_MIB}\n"]
    _, everything, _ = ends(limited(tmp_path / "none", *query))
    assert len(everything.splitlines()) == 2


ASK_NVML = """
import pynvml as n
n.nvmlInit()
card = n.nvmlDeviceGetHandleByIndex(0)

def pids(name, *arguments):
    try:
        return sorted(each.pid for each in getattr(n, "nvmlDeviceGet" + name)(card, *arguments))
    except n.NVMLError as error:
        return str(error)

print(pids("ComputeRunningProcesses"))
print(pids("GraphicsRunningProcesses"))
print(pids("MPSComputeRunningProcesses"))
print(pids("ProcessUtilization", 0))
print(pids("ProcessesUtilizationInfo", 0))
print(pids("RunningProcessDetailList", n.nvmlProcessDetailList_v1, 0))
print(pids("RunningProcessDetailList", n.nvmlProcessDetailList_v1, 1))
print(pids("RunningProcessDetailList", 7, 0))
"""


def test_every_question_about_processes_is_answered_with_those_of_the_share(share, tmp_path, limited):
    """As NVIDIA's own bindings for Python ask."""
    other = add_share(tmp_path / "elsewhere", "other", 10 * GIB)
    idle = add_share(tmp_path / "idle", "idle", GIB)
    ours = limited(share, "hami-fill", "--total", "1Gi", "--hold", FOREVER)
    theirs = limited(other, "hami-fill", "--total", "2Gi", "--hold", FOREVER)
    waits_for(ours, "OK")
    waits_for(theirs, "OK")

    def answers(shares):
        code, out, err = ends(limited(shares, sys.executable, "-c", ASK_NVML))
        assert code == 0, err
        return out.splitlines()

    def expected(listed, sampled):
        return [listed, "[]", "[]", sampled, sampled, listed, "[]", "Argument version mismatch"]

    everybody = str(sorted([ours.pid, theirs.pid]))
    assert answers(tmp_path / "none") == expected(everybody, everybody)
    assert answers(share) == expected(f"[{ours.pid}]", f"[{ours.pid}]")
    assert answers(idle) == expected("[]", "Not Found")
    for process in (ours, theirs):
        process.kill()
        process.communicate()


ASK_FOR_MEMORY = """
import pynvml as n
n.nvmlInit()
card = n.nvmlDeviceGetHandleByIndex(0)

def told(processes):
    return [(each.pid, each.usedGpuMemory >> 20) for each in processes]

for kind in ("Compute", "Graphics", "MPSCompute"):
    for version in ("_v3", "_v2", ""):
        list_of = getattr(n, f"nvmlDeviceGet{kind}RunningProcesses{version}", None)
        print(kind, told(list_of(card)) if list_of else "")
for mode in range(3):
    print(mode, told(n.nvmlDeviceGetRunningProcessDetailList(card, n.nvmlProcessDetailList_v1, mode)))
"""


@pytest.mark.parametrize(("kind", "list_of", "mode"), [("graphics", "Graphics", 1), ("mps", "MPSCompute", 2)])
def test_processes_that_draw_and_clients_of_mps_are_listed_with_what_they_hold_of_the_share(
    share, tmp_path, limited, kind, list_of, mode
):
    """The driver counts what the limiter does not see, too; a share's lists all tell the share's count."""
    other = add_share(tmp_path / "elsewhere", "other", 10 * GIB)
    ours = limited(share, "hami-fill", "--total", "1Gi", "--hold", FOREVER, HAMI_SIM_PROCESS=kind)
    theirs = limited(other, "hami-fill", "--total", "2Gi", "--hold", FOREVER, HAMI_SIM_PROCESS=kind)
    waits_for(ours, "OK")
    waits_for(theirs, "OK")
    ledgers.book(share / "one" / "ledger", [ledger.Excess(0, ours.pid, 100 << 20)])

    def answers(shares):
        code, out, err = ends(limited(shares, sys.executable, "-c", ASK_FOR_MEMORY))
        assert code == 0, err
        return dict(line.split(" ", 1) for line in out.splitlines())

    seen = answers(share)
    assert seen[list_of] == seen[str(mode)] == str([(ours.pid, 1024 + CONTEXT_MIB + 100)])
    everything = answers(tmp_path / "none")
    assert f"({ours.pid}, {1024 + CONTEXT_MIB})" in everything[list_of]
    assert f"({theirs.pid}, {2048 + CONTEXT_MIB})" in everything[list_of]
    assert everything[list_of] == everything[str(mode)]
