"""Tools that trace programs do so under the limiter as without it.

They have it preloaded themselves, as in a container.
"""

import re
import shutil
import sys

import pytest

from hami_dra import native_files
from tests.unit.native.in_share import CONTEXT_MIB, FOREVER, ends

pytestmark = pytest.mark.native

needs_gdb = pytest.mark.skipif(not shutil.which("gdb"), reason="needs gdb (Debian package)")
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace (Debian package)")

GDB = ("gdb", "--quiet", "--nx", "--batch", "--return-child-result", "-ex", "set breakpoint pending on")
ALLOCATED = f"allocated {10240 - CONTEXT_MIB} MiB"
SCRIPT = "echo said; (exit 3); echo $?; ls / | wc -l; kill -USR1 $$; echo not said"


def commands(*lines):
    return [word for line in lines for word in ("-ex", line)]


def fill(size):
    """A program that takes so much of the card."""
    return (native_files.find("sim/hami-fill"), "--total", size)


def with_and_without(limited, share, *command):
    """How COMMAND ends under the limiter, and without it."""
    return ends(limited(share, *command)), ends(limited(share, *command, LD_PRELOAD=""))


@needs_strace
def test_strace_follows_a_program_and_its_children(limited, share, tmp_path):
    trace = tmp_path / "trace"

    def processes():
        """How each process that was traced ended, by what it had started last."""
        lines = trace.read_text().splitlines()
        started = {line.split()[0]: line.split('"')[1] for line in lines if " execve(" in line}
        over = [re.match(r"(\d+) +\+\+\+ (.+) \+\+\+", line) for line in lines]
        return sorted((end[2], started.get(end[1], "")) for end in over if end)

    command = ("strace", "-f", "-o", trace, "sh", "-c", SCRIPT)
    limited_end = ends(limited(share, *command))
    limited_processes = processes()
    plain_end = ends(limited(share, *command, LD_PRELOAD=""))
    assert limited_end == plain_end
    assert limited_end[1].startswith("said\n3\n")
    assert limited_processes == processes()
    assert len(limited_processes) >= 3


@needs_strace
def test_strace_sees_a_program_of_the_card_refused_at_its_share(limited, share, tmp_path):
    program = fill("11Gi")
    refused = ends(limited(share, *program))
    traced = ends(limited(share, "strace", "-f", "-o", tmp_path / "trace", *program))
    assert ALLOCATED in traced[1]
    assert traced == refused
    assert "+++ exited with 1 +++" in (tmp_path / "trace").read_text()


@needs_gdb
def test_gdb_stops_a_program_without_a_gpu_where_it_is_told_to(limited, share, programs):
    stops = commands("break leave", "run", "bt 1", "continue")
    command = (*GDB, *stops, "--args", programs / "unchanged", "alone")
    got, plain = with_and_without(limited, share, *command)
    assert "Breakpoint 1, leave" in got[1]
    assert "#0  leave ()" in got[1]
    assert got[0] == plain[0] == 7
    assert without_numbers(got[1]) == without_numbers(plain[1])


@needs_gdb
def test_gdb_sees_a_fault_where_it_is(limited, share):
    code = "import ctypes; ctypes.string_at(0)"
    command = (
        *GDB,
        *commands("run", "print $_siginfo._sifields._sigfault.si_addr"),
        "--args",
        sys.executable,
        "-c",
        code,
    )
    got, plain = with_and_without(limited, share, *command)
    assert "SIGSEGV" in got[1]
    assert "$1 = (void *) 0x0" in got[1]
    assert got[0] == plain[0]


@needs_gdb
def test_gdb_stops_a_program_of_the_card_in_the_driver_and_lets_it_be_refused(limited, share):
    stops = commands("break cuMemAlloc_v2", "run", "bt 1", "delete", "continue")
    code, out, _ = ends(limited(share, *GDB, *stops, "--args", *fill("11Gi")))
    assert "in cuMemAlloc_v2 ()" in out
    assert ALLOCATED in out
    assert "refused: CUDA_ERROR_OUT_OF_MEMORY" in out
    assert code == 1


@needs_gdb
def test_gdb_looks_into_a_program_that_runs_and_it_goes_on(limited, share):
    holder = limited(share, "hami-fill", "--total", "9Gi", "--hold", FOREVER)
    while holder.stdout.readline() != "OK\n":
        assert holder.poll() is None
    _, out, _ = ends(limited(share, *GDB, *commands("bt", "detach"), "-p", holder.pid))
    assert "#0 " in out
    assert holder.poll() is None
    assert "refused: CUDA_ERROR_OUT_OF_MEMORY" in ends(limited(share, "hami-fill", "--total", "2Gi"))[1]


def without_numbers(said):
    """Numbers of processes and threads, and addresses, differ from run to run."""
    return re.sub(r"0x[0-9a-f]+|\d+", "N", said)
