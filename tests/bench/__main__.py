"""See the package."""

from __future__ import annotations

import datetime
import importlib
import os
import pkgutil
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import tests.bench
from tests.bench import subjects
from tests.bench.frame import Bench, Row

COLUMNS = ("what", "goal", "without", "ours", "peer")


def main() -> int:
    """Run the benchmarks and print what they say; 1 when one of them failed."""
    tables = names(subjects.__path__)
    known = tables + [name for name in names(tests.bench.__path__) if name not in ("frame", "subjects")]
    wanted = sys.argv[1:] or known
    if unknown := sorted(set(wanted) - set(known)):
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    peer = os.environ.get("PEER_LIMITER")
    if peer and not Path(peer).is_file():
        print(f"PEER_LIMITER={peer}: no such file; give the path of a library to preload", file=sys.stderr)
        return 2
    print(machine())
    failed = 0
    with tempfile.TemporaryDirectory(prefix="hami-bench-") as folder:
        bench = Bench(
            Path(folder), full=bool(os.environ.get("BENCH_FULL")), peer=Path(peer).resolve() if peer else None
        )
        for name in wanted:
            failed += not (subject(name, bench) if name in tables else program(name))
    return 1 if failed else 0


def names(folder: Iterable[str]) -> list[str]:
    """The modules of a package, without its `__main__`."""
    return [module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("__")]


def program(name: str) -> bool:
    """Run a benchmark that is a program of its own and prints what it likes."""
    print(f"\n### {name}\n", flush=True)
    return subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], check=False).returncode == 0


def subject(name: str, bench: Bench) -> bool:
    """Print the rows of one subject as they come; whether all went well."""
    print(f"\n### {name}\n", flush=True)
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    began = time.monotonic()
    try:
        for row in importlib.import_module(f"tests.bench.subjects.{name}").rows(bench):
            print(line(row), flush=True)
    except Exception as problem:  # the other subjects still have something to say
        print(f"\n{name} failed: {problem!r}", flush=True)
        return False
    print(f"\n({time.monotonic() - began:.0f} s)", flush=True)
    return True


def line(row: Row) -> str:
    """One row in Markdown."""
    return "| " + " | ".join(getattr(row, column) for column in COLUMNS) + " |"


def machine() -> str:
    """Date and class of machine, without its name."""
    model = next(
        (
            text.split(":", 1)[1].strip()
            for text in Path("/proc/cpuinfo").read_text().splitlines()
            if text.startswith("model name")
        ),
        platform.machine(),
    )
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} x {model}, "
        f"Linux {platform.release().split('-')[0]}, {platform.libc_ver()[1]}, load {load}; simulated driver"
    )


if __name__ == "__main__":
    sys.exit(main())
