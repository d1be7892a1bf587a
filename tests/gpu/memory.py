"""The checks of the limit on memory, and of what a share sees."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from tests.bench.frame import calls
from tests.gpu import torch_programs
from tests.gpu.finding import GIB, MIB, Finding
from tests.gpu.host import Host


def smi(host: Host) -> Iterator[Finding]:
    """What nvidia-smi shows of a share."""
    with host.share("one", memory=10 * GIB) as share:
        query = ("nvidia-smi", "--query-gpu=memory.total,memory.used", "--format=csv,noheader,nounits")
        total, used = (int(field) for field in host.run(share, *query).splitlines()[0].split(","))
        yield Finding(total == 10240, "10240 MiB in all", f"{used} of {total} MiB")
        table = host.run(share, "nvidia-smi")
        yield Finding("10240MiB" in table, "the table with 10240MiB", table.splitlines()[9].strip())


def fill(host: Host) -> Iterator[Finding]:
    """The driver API filled to refusal: the refusal is out of memory, and the limit is used nearly whole."""
    code = (
        "taken = 0\n"
        "try:\n"
        "    while True:\n"
        f"        card.allocate({32 * MIB}); taken += {32 * MIB}\n"
        "except CudaError as refused: print(taken, refused.code)"
    )
    with host.share("one", memory=4 * GIB) as share:
        taken, refusal = map(int, host.python(share, code).split())
    yield Finding(refusal == 2, "CUDA_ERROR_OUT_OF_MEMORY (2)", f"error {refusal}")
    yield Finding(taken >= 3 * GIB, "all but the context", f"{taken / MIB:.0f} MiB of 4096 MiB")


def books(host: Host) -> Iterator[Finding]:
    """What the driver says that a process holds, beside what its share's ledger says."""
    programs = {
        "1 GiB": f"card.allocate({GIB})",
        "many small": f"[card.allocate({MIB} + 4096) for _ in range(256)]",
    }
    for what, code in programs.items():
        with host.share("one", memory=8 * GIB) as share:
            process = host.start_python(share, f"{code}\nprint('held', flush=True); input()")
            yield _compared(host, what, process.pid, host.told(process), host.held(share))
            process.communicate("\n", timeout=60)


def _compared(host: Host, what: str, pid: int, said: str, ledger: int) -> Finding:
    assert said == "held", said
    driver = host.driver_bytes(pid)
    found = f"{what}: driver {driver / MIB:.0f} MiB, ledger {ledger / MIB:.0f} MiB"
    return Finding(driver <= ledger <= driver + 64 * MIB, "the ledger has all that the driver has", found)


FILL_AND_HOLD = f"""
try:
    while True: card.allocate({2 * MIB})
except CudaError: print("held", flush=True); input()
"""


def unseen(host: Host) -> Iterator[Finding]:
    """Kernels that the CUDA runtime loads past the limiter: booked by the agent, and held to the limit."""
    if not host.simulated and not host.torch:
        yield Finding(None, "PyTorch, or a simulated card", "not here")
        return
    with host.share("one", memory=4 * GIB) as share:
        if host.simulated:
            process = host.start_python(
                share, f"card.load_unseen({200 * MIB}); print('held', flush=True); input()"
            )
        else:
            process = host.start(share, sys.executable, "-c", torch_programs.HOLD)
        said, before = host.told(process), host.held(share)
        host.book(share)
        booked = f"with {(host.held(share) - before) / MIB:.0f} MiB that the agent booked"
        yield _compared(host, booked, process.pid, said, host.held(share))
        other = host.start_python(share, FILL_AND_HOLD)
        said = host.told(other)
        assert said == "held", said
        both = host.driver_bytes(process.pid) + host.driver_bytes(other.pid)
        yield Finding(
            4 * GIB - 64 * MIB <= both <= 4 * GIB, "4096 MiB in all", f"{both / MIB:.0f} MiB, when filled"
        )
        for each in (process, other):
            each.communicate("\n", timeout=60)


def shared(host: Host) -> Iterator[Finding]:
    """Memory that a second process opens is counted once by driver and ledger, its maker dead or alive."""
    with host.share("one", memory=4 * GIB) as share:
        make = f"print(card.hand_over(card.allocate({GIB})), flush=True); input()"
        maker = host.start_python(share, make)
        handle = host.told(maker)
        taker = host.start_python(share, f"card.open('{handle}'); print('held', flush=True); input()")
        said = host.told(taker)
        assert said == "held", said
        theirs, ours = host.driver_bytes(maker.pid), host.driver_bytes(taker.pid)
        found = f"driver {theirs / MIB:.0f} and {ours / MIB:.0f} MiB, ledger {host.held(share) / MIB:.0f} MiB"
        good = host.held(share) >= theirs + ours and ours < GIB
        yield Finding(good, "1 GiB of the two counted once", found)
        maker.kill()
        maker.communicate()
        host.book(share)
        yield _compared(host, "its maker dead", taker.pid, said, host.held(share))
        taker.communicate("\n", timeout=60)


def torch_fill(host: Host) -> Iterator[Finding]:
    """PyTorch filled to refusal in each of its allocators, and going on afterwards."""
    if not host.torch:
        yield Finding(None, "PyTorch and a real card", "not here")
        return
    for mode in ("", "expandable_segments:True", "backend:cudaMallocAsync"):
        with host.share("one", memory=8 * GIB) as share:
            taken = int(
                host.run(share, sys.executable, "-c", torch_programs.FILL, PYTORCH_CUDA_ALLOC_CONF=mode)
            )
        yield Finding(taken >= 7 * 1024, "most of 8192 MiB", f"{mode or 'native'}: {taken} MiB")


def kills(host: Host) -> Iterator[Finding]:
    """SIGKILL of processes with real contexts: nothing hangs, everything comes back."""
    rounds = 5 if host.simulated else 5 * round(host.seconds)
    with host.share("one", memory=6 * GIB) as share:
        worst = 0.0
        for _ in range(rounds):
            holder = host.start(share, calls(), "hold", str(4 * GIB))
            assert host.told(holder) == "held", "the memory of the last one did not come back"
            holder.kill()
            begin = time.monotonic()
            holder.communicate()
            worst = max(worst, time.monotonic() - begin)
        left = host.run(share, calls(), "alloc", "1")
    yield Finding(
        bool(left), f"{rounds} times 4 of 6 GiB again", f"each time; death took {1000 * worst:.0f} ms"
    )
