"""`make version VERSION=x.y.z`: the package's version, written into charts and collection too."""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]
PLACES = (
    ("src/hami_dra/__init__.py", r'(__version__ = )"[^"]+"', r'\1"{}"'),
    ("charts/hami/Chart.yaml", r"(?m)^(version|appVersion): .*$", r"\1: {}"),
    ("charts/hami/charts/hami-dra/Chart.yaml", r"(?m)^(version|appVersion): .*$", r"\1: {}"),
    ("galaxy.yml", r"(?m)^(version): .*$", r"\1: {}"),
)
"""File, pattern, and what stands there instead. The first is where the version is kept."""


def main() -> int:
    """Stamp the version of the first argument."""
    if len(sys.argv) != 2 or not re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?", sys.argv[1]):
        print("stamp: give a version like 1.2.3, as in `make version VERSION=1.2.3`", file=sys.stderr)
        return 1
    for name, pattern, instead in PLACES:
        path = REPO / name
        text, count = re.subn(pattern, instead.format(sys.argv[1]), path.read_text())
        if not count:
            print(f"stamp: {name}: there is no version in it", file=sys.stderr)
            return 1
        path.write_text(text)
    print(f"{sys.argv[1]}; now CHANGELOG.md, then commit and tag")
    return 0


if __name__ == "__main__":
    sys.exit(main())
