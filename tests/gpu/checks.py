"""The checks of `make test-gpu`, in the order of their worth: the riskiest assumption first."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from tests.bench.frame import calls
from tests.gpu.host import Host, part

MIB = 1 << 20
GIB = 1 << 30
KINDS = ("tiny", "long", "sync", "graph", "cooperative")


@dataclass(frozen=True)
class Finding:
    """`good`: as expected; None: could not be looked at here."""

    good: bool | None
    expected: str
    found: str


Check = Callable[[Host], Iterator[Finding]]


def event_time(host: Host) -> Iterator[Finding]:
    """Without MPS, time between events has other tenants' slices in it: what the correction rests on."""
    length = "launch = card.launcher(200_000)\nlaunch()\nprint(card.device_time(launch))"
    code = f"card.calibrate({host.loops_of_us})\n{length}"
    alone = float(host.python(None, code))
    rivals = [host.work(None, "long", 8), host.work(None, "long", 8)]
    time.sleep(3)
    among = float(host.python(None, code))
    for rival in rivals:
        part(rival)
    ratio = among / alone
    yield Finding(
        2.4 < ratio < 3.6, "3 times as long among two tenants", f"{alone:.1f} ms alone, x {ratio:.2f}"
    )


def pairs(host: Host) -> Iterator[Finding]:
    """Two containers that both want all of the card, with the agent and without."""
    with host.arbiter():
        one, other = pair(host)
    found = f"{one:.3f} : {other:.3f} = {other / one:.2f}"
    yield Finding(2.21 < other / one < 2.45, "2.33 +- 5 %", found)
    yield Finding(one + other > 0.95, "0.95 of the card used", f"{one + other:.3f}")
    alone = sum(pair(host))
    yield Finding(alone < one + other, "less used without the agent", f"{alone:.3f}")


def pair(host: Host) -> tuple[float, float]:
    """What containers with 30 and 70 get in ten seconds."""
    with host.share("small", cores=30) as small, host.share("large", cores=70) as large:
        programs = [host.work(share, "graph", 10) for share in (small, large)]
        return part(programs[0]), part(programs[1])


def cores(host: Host) -> Iterator[Finding]:
    """Every kind of work at every limit."""
    for limit in (10, 30, 50, 70, 90):
        for kind in KINDS:
            with host.share("one", cores=limit) as share:
                got = 100 * part(host.work(share, kind, 10))
            yield Finding(abs(got - limit) <= 2, f"{limit} +- 2 %", f"{kind} {got:.1f} %")


def smi(host: Host) -> Iterator[Finding]:
    """What nvidia-smi shows of a share."""
    with host.share("one", memory=10 * GIB) as share:
        query = ("nvidia-smi", "--query-gpu=memory.total,memory.used", "--format=csv,noheader,nounits")
        total, used = (int(field) for field in host.run(share, *query).splitlines()[0].split(","))
        yield Finding(total == 10240, "10240 MiB in all", f"{used} of {total} MiB")


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


TORCH_FILL = """
import torch
held = []
try:
    while True: held.append(torch.empty(32 << 20, dtype=torch.uint8, device="cuda"))
except torch.OutOfMemoryError: pass
taken = len(held) * 32
del held; torch.cuda.empty_cache()
torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
print(taken)
"""
TORCH_TRAIN = """
import time, torch
net = torch.nn.Sequential(*[torch.nn.Linear(2048, 2048) for _ in range(8)]).cuda()
best, data = torch.optim.Adam(net.parameters()), torch.randn(512, 2048, device="cuda")
def step():
    best.zero_grad(); net(data).square().mean().backward(); best.step()
for _ in range(50): step()
torch.cuda.synchronize(); begin = time.monotonic()
for _ in range(500): step()
torch.cuda.synchronize(); print(time.monotonic() - begin)
"""


def torch_fill(host: Host) -> Iterator[Finding]:
    """PyTorch filled to refusal in each of its allocators, and going on afterwards."""
    if host.simulated or not find_spec("torch"):
        yield Finding(None, "PyTorch and a real card", "not here")
        return
    for mode in ("", "expandable_segments:True", "backend:cudaMallocAsync"):
        with host.share("one", memory=8 * GIB) as share:
            taken = int(host.run(share, sys.executable, "-c", TORCH_FILL, PYTORCH_CUDA_ALLOC_CONF=mode))
        yield Finding(taken >= 7 * 1024, "most of 8192 MiB", f"{mode or 'native'}: {taken} MiB")


def torch_train(host: Host) -> Iterator[Finding]:
    """What training loses, with no core limit and with one that is not reached."""
    if host.simulated or not find_spec("torch"):
        yield Finding(None, "PyTorch and a real card", "not here")
        return
    plain = min(float(host.run(None, sys.executable, "-c", TORCH_TRAIN)) for _ in range(3))
    for limit, most in ((0, 0.5), (100, 1.0)):
        with host.share("one", cores=limit) as share:
            took = min(float(host.run(share, sys.executable, "-c", TORCH_TRAIN)) for _ in range(3))
        loss = 100 * (took / plain - 1)
        yield Finding(loss <= most, f"at most {most} % at cores {limit}", f"{loss:+.2f} %")


def single_calls(host: Host) -> Iterator[Finding]:
    """Launch and allocation, in the C program of the benchmarks."""
    for what, limit, most in (("launch", 0, 10), ("launch", 100, 40), ("alloc", 0, 250)):
        plain = min(float(host.run(None, calls(), what, "500")) for _ in range(5))
        with host.share("one", cores=limit) as share:
            ours = min(float(host.run(share, calls(), what, "500")) for _ in range(5))
        yield Finding(
            ours - plain <= most,
            f"+{most} ns at cores {limit}",
            f"{what} {plain:.0f} ns, {ours - plain:+.0f}",
        )


def kills(host: Host) -> Iterator[Finding]:
    """SIGKILL of processes with real contexts: nothing hangs, everything comes back."""
    rounds = 5 if host.simulated else 50
    with host.share("one", memory=6 * GIB) as share:
        worst = 0.0
        for _ in range(rounds):
            holder = host.start(share, calls(), "hold", str(4 * GIB))
            assert holder.stdout
            assert holder.stdout.readline() == "held\n", "the memory of the last one did not come back"
            holder.kill()
            begin = time.monotonic()
            holder.communicate()
            worst = max(worst, time.monotonic() - begin)
        left = host.run(share, calls(), "alloc", "1")
    yield Finding(
        bool(left), f"{rounds} times 4 of 6 GiB again", f"each time; death took {1000 * worst:.0f} ms"
    )


ALL: tuple[tuple[str, Check], ...] = (
    ("event-time", event_time),
    ("pairs", pairs),
    ("cores", cores),
    ("nvidia-smi", smi),
    ("fill", fill),
    ("torch-fill", torch_fill),
    ("torch-train", torch_train),
    ("calls", single_calls),
    ("kills", kills),
)
