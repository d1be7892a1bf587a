"""The table of the CUDA driver's entry points, `src/entry_points.tsv`: what the limiter does with each.

    entry_points.py check                      every entry point is classified, and as hooks.def says
    entry_points.py add FOLDER VERSION         put in the names of the CUDA headers in FOLDER, unclassified

A row is `name, first CUDA version that we looked at, class`. Class `wrap` is a line in hooks.def; the others
say why a call may pass (the table's head explains them); `?` is a new name that somebody must think about.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
TABLE = SOURCE / "entry_points.tsv"
HEADERS = ("cuda.h", "cudaGL.h", "cudaEGL.h", "cudaVDPAU.h")
# One by one they hide what the others show: plain, per-thread-stream and superseded names.
MODES = ((), ("-DCUDA_API_PER_THREAD_DEFAULT_STREAM",), ("-D__CUDA_API_VERSION_INTERNAL",))
# Declared in headers that those packages lack, or for Windows.
NOT_DECLARED = {"cuProfilerInitialize", "cuProfilerStart", "cuProfilerStop"}
# A function of the header itself, for programs with per-thread streams.
INLINE = {"cuGetProcAddress_v2_ptsz"}


def read_table() -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Comment lines, and name -> (version, class)."""
    lines = TABLE.read_text().splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    comments = [line for line in lines if line.startswith("#")]
    return comments, {name: (since, kind) for name, since, kind in rows}


def wrapped() -> set[str]:
    """The CUDA names of hooks.def."""
    return set(re.findall(r"^CUDA\((\w+),", (SOURCE / "hooks.def").read_text(), re.MULTILINE))


def problems(rows: dict[str, tuple[str, str]], hooks: set[str], classes: set[str]) -> list[str]:
    """What is wrong, one line for each entry point."""
    found = []
    for name, (_, kind) in rows.items():
        if kind not in classes:
            found.append(f"{name}: class {kind!r} is none of {', '.join(sorted(classes))}")
        elif (kind == "wrap") != (name in hooks):
            found.append(
                f"{name}: {kind} here, but it has {'a' if name in hooks else 'no'} line in hooks.def"
            )
    found += [f"{name}: wrapped in hooks.def, but not in the table" for name in sorted(hooks - set(rows))]
    return found


def classes_of(comments: list[str]) -> set[str]:
    """The classes that the table's head explains."""
    return set(re.findall(r"^#   (\w[\w-]*)  ", "\n".join(comments), re.MULTILINE))


def names_of(folder: Path) -> set[str]:
    """Every function that CUDA headers declare, whatever the preprocessor hides."""
    names: set[str] = set()
    with tempfile.TemporaryDirectory() as stubs:
        for other in ("GL/gl.h", "EGL/egl.h", "EGL/eglext.h", "vdpau/vdpau.h"):
            (Path(stubs) / other).parent.mkdir(exist_ok=True)
            (Path(stubs) / other).touch()
        for header in HEADERS:
            for mode in MODES:
                text = subprocess.run(
                    ["cc", "-E", "-P", *mode, f"-I{folder}", f"-I{stubs}", "-xc", str(folder / header)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
                names |= set(re.findall(r"\b(cu[A-Z]\w*)\s*\(", text))
    return (names | NOT_DECLARED) - INLINE


def add(folder: Path, version: str) -> None:
    """Put in what is new, and note where a name was seen earlier than the table says."""
    comments, rows = read_table()
    for name in names_of(folder):
        since, kind = rows.get(name, (version, "?"))
        rows[name] = (min(since, version, key=lambda v: tuple(map(int, v.split(".")))), kind)
    lines = [*comments, *("\t".join((name, *rows[name])) for name in sorted(rows))]
    TABLE.write_text("\n".join(lines) + "\n")


def main(arguments: list[str]) -> int:
    """Run a command; 1 when the table is not right."""
    if arguments[:1] == ["add"] and len(arguments) == 3:
        add(Path(arguments[1]), arguments[2])
    elif arguments != ["check"]:
        print(__doc__, file=sys.stderr)
        return 2
    comments, rows = read_table()
    found = problems(rows, wrapped(), classes_of(comments))
    for problem in found:
        print(f"{TABLE.name}: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
