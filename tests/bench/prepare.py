"""NodePrepareResources of our plugin beside Kubernetes' example driver, in one run; unprepare as well.

    python -m tests.bench.prepare [--claims N]

Both answer the same kubelet over their unix sockets, read each claim from the same kube-apiserver and etcd,
and keep their checkpoint on the same disk; calls alternate between the two. Times are what kubelet waits.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from hami_dra import native_files
from hami_dra.kube import NODES
from tests.cluster import go_programs, versions
from tests.contract.bench import Bench
from tests.support import control_plane

NODE = "bench"
WARM_UP = 20
GOALS_MS = {"p50": 6.0, "p99": 20.0}
Command = tuple[list[str], dict[str, Any]]
"""Program, and its options."""
OURS, PEER = "hami plugin", "dra-example-driver (Go)"


@dataclass
class Times:
    """Seconds of each call, by kind of call."""

    empty: list[float] = field(default_factory=list)
    prepare: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    unprepare: list[float] = field(default_factory=list)


@contextmanager
def drivers() -> Iterator[dict[str, Bench]]:
    """Both drivers, started and registered."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=versions.CACHE, prefix="b")))
        memory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hami-bench-")))
        api = folder / "api"
        api.mkdir()
        plane = stack.enter_context(control_plane.api_server(api))
        kube, kubeconfig = plane.client, plane.kubeconfig
        kube.create(NODES, {"metadata": {"name": NODE}})
        commands = {
            OURS: (folder / "ours", _ours(folder / "ours", memory)),
            PEER: (folder / "peer", _peer(folder / "peer", memory)),
        }
        found = {
            name: Bench(kube, own / "registry", NODE, command=[*program, *_words(options, kubeconfig)])
            for name, (own, (program, options)) in commands.items()
        }
        for name, bench in found.items():
            bench.log = folder / f"{name.split()[0]}.log"
            stack.callback(bench.end)
            bench.start()
        yield found


def measure(found: dict[str, Bench], claims: int) -> dict[str, Times]:
    """Prepare and unprepare CLAIMS claims with each driver, taking turns."""
    times = {name: Times() for name in found}
    for number in range(WARM_UP + claims):
        for name, bench in found.items():
            spent = times[name] if number >= WARM_UP else Times()
            claim = bench.claim(bench.result())
            spent.empty.append(_timed(bench.kubelet.prepare))
            spent.prepare.append(_timed(lambda bench=bench, claim=claim: _well(bench.prepare(claim))))
            spent.again.append(_timed(lambda bench=bench, claim=claim: _well(bench.prepare(claim))))
            spent.unprepare.append(_timed(lambda bench=bench, claim=claim: _well(bench.unprepare(claim))))
            bench.forget(claim)
    return times


def resident_mib(bench: Bench) -> float:
    """RSS of a driver's process."""
    assert bench.process is not None
    text = Path(f"/proc/{bench.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def percentile(values: list[float], percent: int) -> float:
    """In milliseconds."""
    return statistics.quantiles(values, n=100)[percent - 1] * 1000


def _ours(folder: Path, memory: Path) -> Command:
    root = folder / "driver"
    for part in ("usr/lib64", "etc/hami-sim", "var/lib/hami-sim", "../registry", "../plugins", "../state"):
        (root / part).mkdir(parents=True)
    shutil.copy(native_files.find("sim/libnvidia-ml.so.1"), root / "usr/lib64")
    shutil.copy(versions.REPO / "tests/guide/gpus-a10.yaml", root / "etc/hami-sim/gpus.yaml")
    return [sys.executable, "-m", "hami_dra.cli.main", "plugin"], {
        "node-name": NODE,
        "driver-root": root,
        "state-dir": folder / "state",
        "cdi-dir": memory / "ours",
        "cdi-static-dir": memory / "static",
        "plugins-dir": folder / "plugins",
        "registry-dir": folder / "registry",
        "health-port": 0,
        "metrics-port": 0,
        "log-format": "json",  # as in the chart
    }


def _peer(folder: Path, memory: Path) -> Command:
    program = go_programs.build(go_programs.EXAMPLE_DRIVER) / "dra-example-kubeletplugin"
    for path in (folder / "registry", folder / "plugins", memory / "peer"):
        path.mkdir(parents=True)
    return [str(program)], {
        "node-name": NODE,
        "cdi-root": memory / "peer",
        "kubelet-registrar-directory-path": folder / "registry",
        "kubelet-plugins-directory-path": folder / "plugins",
        "kube-api-qps": 10000,  # its default of 5 calls a second would be all that is measured
        "kube-api-burst": 10000,
        "gpu-allow-multiple-allocations": "true",
    }


def _words(options: dict[str, Any], kubeconfig: Path) -> list[str]:
    return [f"--{name}={value}" for name, value in (options | {"kubeconfig": kubeconfig}).items()]


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _well(answer: Any) -> None:
    assert not answer.error, answer.error


@click.command(help=__doc__)
@click.option("--claims", default=300, show_default=True)
def main(claims: int) -> None:
    """See the module's docstring."""
    os.environ.setdefault("PYTHONPATH", str(versions.REPO / "src"))
    with drivers() as found:
        times = measure(found, claims)
        resident = {name: resident_mib(bench) for name, bench in found.items()}
    click.echo(f"| call | {OURS} p50 / p99 ms | {PEER} p50 / p99 ms | p50 ratio |\n|---|---|---|---|")
    for kind in ("empty", "prepare", "again", "unprepare"):
        ours, peer = (getattr(times[name], kind) for name in (OURS, PEER))
        cells = [f"{percentile(each, 50):.1f} / {percentile(each, 99):.1f}" for each in (ours, peer)]
        ratio = percentile(ours, 50) / percentile(peer, 50)
        click.echo(f"| {kind} | {cells[0]} | {cells[1]} | {ratio:.2f} |")
    click.echo(f"| RSS MiB | {resident[OURS]:.0f} | {resident[PEER]:.0f} | |")
    goals = ", ".join(f"{name} <= {limit:.0f} ms" for name, limit in GOALS_MS.items())
    click.echo(f"Goal for prepare: {goals}; RSS <= 90 MiB. {claims} claims each, GPUs simulated.")


if __name__ == "__main__":
    main()
