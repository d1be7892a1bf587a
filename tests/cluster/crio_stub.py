#!/usr/bin/env python3
"""Stands in for CRI-O on a molecule node: reads the real files in the real places.

    crio config   the configuration in effect; like the real one it only comments on what is as by default
    crio          runs with it (/run/crio.json), or ends with the reason where a file cannot be read

Standard library only: it runs in the node.
"""

import json
import sys
import time
import tomllib
from pathlib import Path

FOLDER = Path("/etc/crio")
DEFAULTS = {"cdi_spec_dirs": ["/etc/cdi", "/var/run/cdi"], "log_level": "info"}


def runtime():
    """The table [crio.runtime] of crio.conf and its drop-ins, of which the last wins."""
    found = dict(DEFAULTS)
    for file in (FOLDER / "crio.conf", *sorted((FOLDER / "crio.conf.d").glob("*.conf"))):
        if file.is_file():
            try:
                found |= tomllib.loads(file.read_text()).get("crio", {}).get("runtime", {})
            except tomllib.TOMLDecodeError as problem:
                sys.exit(f"load config: {file}: {problem}")
    return found


def main():
    found = runtime()
    if sys.argv[1:] == ["config"]:
        print("[crio.runtime]")
        for key, value in found.items():
            print(f"{'# ' if DEFAULTS.get(key) == value else ''}{key} = {json.dumps(value)}")
        return
    Path("/run/crio.json").write_text(json.dumps(found))
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
