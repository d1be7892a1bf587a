#!/usr/bin/env python3
"""Write the chart's Grafana dashboards: `.venv/bin/python scripts/dashboards/build.py [FOLDER]`.

A panel is one entry in the file of its dashboard. The JSON is committed, so that the chart needs nothing but
Helm; tests/charts/test_dashboards.py compares both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cluster
import node
import tenant
from grafana import dashboard

FOLDER = Path(__file__).resolve().parents[2] / "charts/hami/charts/hami-dra/dashboards"
DASHBOARDS = {"cluster": cluster, "node": node, "tenant": tenant}


def main(folder: Path = FOLDER) -> None:
    """Write each dashboard to its file."""
    for name, content in DASHBOARDS.items():
        made = dashboard(name, f"hami: {name}", content.VARIABLES, content.PANELS)
        (folder / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
