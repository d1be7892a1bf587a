"""The limiter between programs and the simulated driver: what a program in a share sees and gets."""

import os
import signal
import struct
import sys

import pytest

from hami_dra import native_files
from hami_dra.model import ledger, quantity
from tests.unit.native.in_share import (
    CALLS,
    CONTEXT_MIB,
    FOREVER,
    GIB,
    UUID,
    add_share,
    booked,
    ends,
    waits_for,
)
from tests.unit.native.simulated import A10

pytestmark = pytest.mark.native


def refused(process):
    """The one line that tells a program why it gets no memory."""
    code, out, err = ends(process)
    assert code == 1
    assert "CUDA_ERROR_OUT_OF_MEMORY" in out + err
    (told,) = [line for line in err.splitlines() if "HAMI-core ERROR" in line]
    return told


def test_nvidia_smi_shows_the_share_as_the_card(share, limited):
    _, table, _ = ends(limited(share, "nvidia-smi"))
    assert "0MiB /  10240MiB" in table


def test_more_than_the_share_is_refused_as_a_full_card_refuses(share, limited):
    code, out, _ = ends(limited(share, "hami-fill", "--total", "11Gi"))
    assert code == 1
    assert "refused: CUDA_ERROR_OUT_OF_MEMORY" in out
    assert f"allocated {10240 - CONTEXT_MIB} MiB" in out


def test_the_share_less_the_context_fits(share, limited):
    code, out, _ = ends(limited(share, "hami-fill", "--total", f"{10240 - CONTEXT_MIB}Mi"))
    assert code == 0, out
    assert "cuMemGetInfo: 0 MiB free of 10240 MiB" in out


def test_processes_of_a_container_draw_on_one_budget(share, limited):
    first = limited(share, "hami-fill", "--total", "4Gi", "--hold", FOREVER)
    waits_for(first, "OK")
    _, out, _ = ends(limited(share, "hami-fill", "--total", "7Gi"))
    assert f"allocated {6144 - 2 * CONTEXT_MIB} MiB" in out


def test_a_killed_process_leaves_its_memory_to_the_next_at_once(share, limited):
    first = limited(share, "hami-fill", "--total", "8Gi", "--hold", FOREVER)
    waits_for(first, "OK")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    code, out, _ = ends(limited(share, "hami-fill", "--total", "9Gi"))
    assert code == 0, out


OPENS = """
import ctypes, os
ctypes.CDLL("libcuda.so.1").cuInit(0)
links = [f"/proc/self/fd/{number}" for number in range(3, 64)]
print(*(os.path.basename(os.readlink(each)) for each in links if os.path.lexists(each)))
"""


def test_the_ledger_is_opened_before_the_files_of_the_driver(share, limited):
    """As the kernel lets go of a dead process's files in the other order.

    So nobody is given memory that the driver has not freed yet.
    """
    code, out, err = ends(limited(share, sys.executable, "-c", OPENS))
    assert (code, out.split()[:2], err) == (0, ["ledger", "state"], "")


def test_what_others_took_of_a_card_beyond_their_shares_is_free_by_nobodys_word(share, limited):
    others = limited(share, "hami-fill", "--total", "20Gi", "--hold", FOREVER, LD_PRELOAD="")
    waits_for(others, "OK")
    filled = limited(share, "hami-fill", "--total", "1Gi", "--hold", FOREVER)
    waits_for(filled, "OK")
    _, used_and_free, _ = ends(
        limited(share, "nvidia-smi", "--query-gpu=memory.used,memory.free", "--format=csv,noheader")
    )
    on_card = 23028 - (20480 + CONTEXT_MIB) - (1024 + CONTEXT_MIB)
    assert used_and_free == f"{1024 + CONTEXT_MIB} MiB, {on_card} MiB\n"
    _, out, _ = ends(limited(share, "hami-fill", "--total", "1Mi"))
    assert f"cuMemGetInfo: {on_card - CONTEXT_MIB - 2} MiB free of 10240 MiB" in out


def test_many_processes_never_hold_more_than_the_share_by_the_drivers_word(share, limited, tmp_path):
    fillers = [limited(share, "hami-fill", "--chunk", "16Mi", "--hold", FOREVER) for _ in range(16)]

    def used():
        query = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
        return int(ends(limited(tmp_path / "none", *query))[1])

    seen = []
    for filler in fillers:
        seen.append(used())
        any("refused" in line for line in filler.stdout)  # or ends, if there is no room for its context
    assert 9000 < used() <= 10240
    assert max(seen) <= 10240
    for filler in fillers:
        filler.kill()
        filler.communicate()


def test_two_shares_of_one_card_add_up(tmp_path, limited):
    shares = add_share(tmp_path / "shares", "one", 3 * GIB)
    add_share(shares, "two", 2 * GIB)
    _, table, _ = ends(limited(shares, "nvidia-smi"))
    assert "5120MiB" in table
    code, out, _ = ends(limited(shares, "hami-fill", "--total", f"{5120 - CONTEXT_MIB}Mi"))
    assert code == 0, out


def test_without_shares_the_limiter_has_no_effect(tmp_path, limited):
    _, table, err = ends(limited(tmp_path / "none", "nvidia-smi"))
    assert "23028MiB" in table
    assert err == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("limits", b"memory=lots\n"),
        ("limits", b"version=2\n"),
        ("ledger", b"short"),
        ("ledger", b"\xff" * ledger.SIZE),
        ("ledger", struct.pack("<Q", ledger.MAGIC + 1).ljust(ledger.SIZE, b"\0")),
    ],
    ids=["nonsense", "another version", "cut short", "no ledger", "a ledger of another version"],
)
def test_a_damaged_share_refuses_memory_and_says_so_without_a_crash(share, limited, name, content):
    (share / "one" / name).write_bytes(content)
    assert "can be used here" in refused(limited(share, "hami-fill", "--total", "1Gi"))


def test_a_read_only_ledger_refuses_memory_and_says_so(share, limited):
    mounted_read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    fill = native_files.find("sim/hami-fill")
    command = ("unshare", "--mount", "sh", "-c", mounted_read_only, share / "one", fill, "--total", "1Gi")
    assert "cannot be used (Read-only file system)" in refused(limited(share, *command))


def cut_short_under(share, program, text, left=0):
    """How PROGRAM ends whose ledger is cut short when it has said TEXT, and that is told so."""
    waits_for(program, text)
    os.truncate(share / "one" / "ledger", left)
    program.stdin.write("\n")
    return ends(program)


def test_a_ledger_that_is_cut_short_under_a_program_that_computes_does_not_end_it(share, limited):
    program = limited(share, sys.executable, "-c", COMPUTE_AGAIN, PYTHONPATH=".")
    code, out, err = cut_short_under(share, program, "computes")
    assert (code, out) == (0, "computed\n"), err


COMPUTE_AGAIN = """
from tests.gpu.cuda import Card
card = Card()
for _ in range(4):
    card.launcher(200_000)()
    card.synchronize()
card.launcher(100_000)()  # which is paid for as if it took longer
print("computes", flush=True)
input()
card.synchronize()
launch = card.launcher(50)
for _ in range(50):
    for _ in range(20):
        launch()
    card.synchronize()
print("computed")
"""


@pytest.mark.parametrize("left", [0, 8192], ids=["to nothing", "behind the program's own place"])
def test_a_ledger_that_is_cut_short_under_a_program_gives_it_no_more_memory(share, limited, left):
    program = limited(share, sys.executable, "-c", ALLOCATE_AGAIN, PYTHONPATH=".")
    code, out, err = cut_short_under(share, program, "holds", left)
    assert (code, out) == (0, "refused: 2\n"), err
    assert len(err.splitlines()) == 1, err
    assert "the ledger of its share cannot be used" in err


ALLOCATE_AGAIN = """
import time
from tests.gpu.cuda import Card, CudaError
card = Card()
card.allocate(1 << 20)
print("holds", flush=True)
input()
time.sleep(0.1)  # a file is trusted for some time
for _ in range(3):
    try:
        card.allocate(1 << 20)
    except CudaError as refused:
        code = refused.code
print("refused:", code)
"""


def test_a_card_without_a_share_gives_no_memory(tmp_path, limited):
    shares = add_share(tmp_path / "shares", "one", GIB, uuid="GPU-00000000-0000-0000-0000-000000000000")
    code, _, err = ends(limited(shares, "hami-fill", "--total", "1Gi"))
    assert code == 1
    assert f"holds no share of {UUID}" in err


def test_containers_whose_processes_have_the_same_pid_draw_on_one_budget(share, limited):
    """Each in a PID namespace of its own, as containers and Pods on one claim are."""
    alone = ("unshare", "--pid", "--fork", "--kill-child", native_files.find("sim/hami-fill"))
    first, second = (limited(share, *alone, "--total", "4Gi", "--hold", FOREVER) for _ in range(2))
    waits_for(first, "OK")
    waits_for(second, "OK")

    def slots():
        return ledger.slots((share / "one" / "ledger").read_bytes())

    assert [slot.pid for slot in slots()] == [1, 1]
    _, out, _ = ends(limited(share, *alone, "--total", "4Gi"))
    assert f"allocated {2048 - 3 * CONTEXT_MIB} MiB" in out
    first.kill()
    first.communicate()
    code, out, _ = ends(limited(share, *alone, "--total", f"{6144 - 2 * CONTEXT_MIB}Mi"))
    assert code == 0, out
    second.kill()
    second.communicate()


ALLOCATES_WITHOUT_A_CONTEXT = """
from ctypes import byref, c_size_t, c_uint64, c_void_p
from tests.gpu.cuda import Card
card = Card()
before, stream, at = card.free_and_total()[0], card.stream(), c_uint64()
card.call("cuCtxSetCurrent", None)
taken = 0
while card.library.cuMemAllocAsync(byref(at), c_size_t(1 << 30), stream) == 0:
    taken += 1 << 30
print(taken >> 30, before - taken < 1 << 30)
"""


def test_memory_that_a_stream_takes_without_a_current_context_is_charged(share, limited):
    """A stream knows its card; only the default ones need a context that is current."""
    program = limited(share, sys.executable, "-c", ALLOCATES_WITHOUT_A_CONTEXT, PYTHONPATH=".")
    assert ends(program) == (0, "9 True\n", "")


def test_an_oversubscribed_share_serves_from_host_memory_what_does_not_fit(tmp_path, limited):
    shares = add_share(tmp_path / "shares", "one", 2 * GIB, more="oversubscribe=1\n")
    code, out, _ = ends(limited(shares, "hami-fill", "--total", "5Gi"))
    assert code == 0, out
    assert "cuMemGetInfo: 0 MiB free of 2048 MiB" in out


def test_the_log_level_of_a_share_holds_where_the_environment_says_nothing(tmp_path, limited):
    silent = add_share(tmp_path / "silent", "one", GIB, uuid="GPU-0", more="log_level=0\n")
    _, _, said = ends(limited(silent, "hami-fill", "--total", "1Gi"))
    assert "HAMI-core" not in said
    loud = add_share(tmp_path / "loud", "one", GIB, more="log_level=2\n")
    _, _, said = ends(limited(loud, "hami-fill", "--total", "1Mi"))
    assert "Cleanup on exit" in said
    _, _, said = ends(limited(loud, "hami-fill", "--total", "1Mi", LIBCUDA_LOG_LEVEL="0"))
    assert said == ""


def test_the_ledger_says_what_a_process_holds(share, limited):
    holder = limited(share, "hami-fill", "--total", "2Gi", "--hold", FOREVER)
    waits_for(holder, "OK")
    held = booked(share)
    assert held == 2 * GIB + CONTEXT_MIB * 1024**2, quantity.format_bytes(held)


LOADED_AT_ONCE = f"""
{CALLS}
import threading

def launch(function):
    call("cuCtxSetCurrent", context)
    both.wait()
    call("cuLaunchKernel", function, *[c_uint(1)] * 6, c_uint(0), None, None, None)

call("cuInit", 0)
context, both = made("cuCtxCreate_v2", 0, 0), threading.Barrier(2)
for _ in range(200):
    module = made("cuModuleLoadData", b"\\177ELF".ljust(40, b"\\0") + (64 << 20).to_bytes(24, "little"))
    functions = [made("cuModuleGetFunction", module, name) for name in (b"busy_ns_1", b"busy_ns_2")]
    threads = [threading.Thread(target=launch, args=[each]) for each in functions]
    for step in threading.Thread.start, threading.Thread.join:
        for each in threads:
            step(each)
    call("cuModuleUnload", module)
tell()
"""


def test_code_that_two_threads_load_at_once_is_given_back_when_it_is_unloaded(share, limited):
    program = limited(share, sys.executable, "-c", LOADED_AT_ONCE)
    waits_for(program, "told")
    assert booked(share) == CONTEXT_MIB << 20
    program.stdin.write("\n")
    assert ends(program) == (0, "", "")


def test_a_first_context_that_seems_to_take_far_too_much_is_counted_as_usual(tmp_path, share, limited):
    """Others of the card have taken memory at that moment: no context takes more than 1 GiB."""
    cards = tmp_path / "gpus.yaml"
    cards.write_text(A10.read_text().rstrip() + "\n  contextMiB: 1500\n")
    _, out, _ = ends(limited(share, "hami-fill", "--total", "11Gi", HAMI_SIM_FILE=str(cards)))
    assert f"allocated {10240 - CONTEXT_MIB} MiB" in out
