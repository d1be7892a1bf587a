"""Faults of simulated cards, through NVML as on a real host: what is told, ignored, and forgotten again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hami_dra import native_files

pytestmark = pytest.mark.native

TESTS = Path(__file__).parents[2]
UUID = "GPU-f1c7d08c-ae21-13e7-0de0-9eb14ff71eaf"


def told(tmp_path: Path, script: str) -> list[str]:
    """Run SCRIPT in a process of its own, with `poll`, `fault` and `mend`; the lines that it prints."""
    root = tmp_path / "root"
    (root / "usr/lib64").mkdir(parents=True)
    shutil.copy(native_files.find("sim/libnvidia-ml.so.1"), root / "usr/lib64/libnvidia-ml.so.1")
    head = f"""
        from pathlib import Path
        from hami_dra.devices import nvidia_health
        from hami_dra.devices.driver_root import DriverRoot
        from hami_dra.devices.nvidia import NvidiaBackend
        faults, root = Path({str(tmp_path / "state.faults")!r}), Path({str(root)!r})
        now = 1000.0
        backend = NvidiaBackend(DriverRoot(root, root), ignored_xids=[*nvidia_health.IGNORED_XIDS, 62])
        backend._health._clock = lambda: now
        first = backend.discover()
        def poll(seconds=0):
            global now
            now += seconds
            print([(each.key, each.value) for each in backend.health(backend.discover())])
        def fault(line):
            with faults.open("a") as file:
                file.write(line.replace("CARD", {UUID!r}) + "\\n")
        def mend():
            faults.write_text("")
    """
    environment = os.environ | {
        "PYTHONPATH": str(TESTS.parent / "src"),
        "HAMI_SIM_FILE": str(TESTS / "guide" / "gpus-a10.yaml"),
        "HAMI_SIM_STATE": str(tmp_path / "state"),
    }
    code = textwrap.dedent(head) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("[(") or line == "[]"]


def test_a_fatal_xid_stays_until_the_driver_says_that_no_recovery_is_needed(tmp_path: Path) -> None:
    script = """
        poll()
        fault("xid CARD 79")
        fault("recovery CARD 1")
        poll(2)
        poll(100)
        mend()
        poll(2)
    """
    sick = "[('xid', '79'), ('recovery', 'reset')]"
    assert told(tmp_path, script) == ["[]", sick, sick, "[]"]


def test_right_after_an_event_the_drivers_word_does_not_count(tmp_path: Path) -> None:
    script = """
        poll()
        fault("xid CARD 48")
        poll(2)
        poll(20)
        poll(20)
    """
    assert told(tmp_path, script) == ["[]", "[('xid', '48')]", "[('xid', '48')]", "[]"]


@pytest.mark.parametrize("xid", [13, 31, 43, 45, 68, 109, 62])
def test_errors_of_programs_and_those_of_the_users_list_leave_a_card_well(tmp_path: Path, xid: int) -> None:
    script = f"""
        poll()
        fault("xid CARD {xid}")
        poll(2)
    """
    assert told(tmp_path, script) == ["[]", "[]"]


def test_an_uncorrectable_memory_error_is_told(tmp_path: Path) -> None:
    script = """
        poll()
        fault("ecc CARD")
        poll(2)
    """
    assert told(tmp_path, script) == ["[]", "[('ecc', '')]"]


def test_a_lost_card_is_lost_and_when_it_is_back_its_old_xid_is_forgotten(tmp_path: Path) -> None:
    script = """
        poll()
        fault("xid CARD 79")
        poll(2)
        fault("lost CARD")
        assert backend.discover() == []
        poll(2)
        assert [each.key for each in backend.health(first)] == ["lost"]
        mend()
        assert backend.discover() == first
        poll(2)
    """
    assert told(tmp_path, script) == ["[]", "[('xid', '79')]", "[]", "[]"]


@pytest.mark.parametrize("error", ["GPU_IS_LOST", "UNKNOWN", "RESET_REQUIRED"])
def test_a_card_that_is_gone_in_the_middle_of_a_look_is_lost_and_no_other_is_with_it(
    tmp_path: Path, error: str
) -> None:
    """Its handle is there, and a later call fails. An error of the look as a whole makes all cards sick."""
    script = f"""
        import pynvml
        def gone(handle):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_{error})
        asked, pynvml.nvmlDeviceGetName = pynvml.nvmlDeviceGetName, gone
        assert backend.discover() == []
        pynvml.nvmlDeviceGetName = asked
        assert backend.discover() == first
        pynvml.nvmlDeviceIsMigDeviceHandle = gone
        print([(each.key, each.value) for each in backend.health(first)])
    """
    assert told(tmp_path, script) == ["[('lost', '')]"]


@pytest.mark.parametrize("error", ["INSUFFICIENT_POWER", "NOT_SUPPORTED", "NO_PERMISSION", "IRQ_ISSUE"])
def test_a_card_that_the_driver_cannot_tell_of_hides_no_other(tmp_path: Path, error: str) -> None:
    """As one without its power cable, or of a kind that the driver does not know."""
    script = f"""
        import pynvml
        from hami_dra.model.errors import DriverError
        by_index = pynvml.nvmlDeviceGetHandleByIndex
        def second_fails(index):
            if index == 1:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_{error})
            return by_index(index)
        pynvml.nvmlDeviceGetCount = lambda: 2
        pynvml.nvmlDeviceGetHandleByIndex = second_fails
        assert backend.discover() == first
        pynvml.nvmlDeviceGetHandleByIndex = lambda _: second_fails(1)
        try:
            backend.discover()
        except DriverError as problem:
            print([("none", "tells nothing of any card" in str(problem))])
    """
    assert told(tmp_path, script) == ["[('none', True)]"]


def test_events_are_heard_over_the_renewal_of_the_session(tmp_path: Path) -> None:
    script = """
        poll()
        poll(31)
        poll(31)
        fault("xid CARD 94")
        poll(31)
    """
    assert told(tmp_path, script)[-1] == "[('xid', '94')]"
