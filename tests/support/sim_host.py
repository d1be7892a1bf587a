"""A simulated host: libnvidia-ml.so.1, and beside it what a plugin needs to run in one folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hami_dra import native_files

GUIDE: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "guide/gpus-a10.yaml").read_text())
A10: dict[str, Any] = GUIDE["gpus"][0]


def make(folder: Path, gpus: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Make it in FOLDER; `root` is the driver root. Returns the variables with which NVML shows GPUS."""
    for part in ("registry", "plugins", "state", "root/usr/lib64", "root/dev"):
        (folder / part).mkdir(parents=True)
    shutil.copy(native_files.find("sim/libnvidia-ml.so.1"), folder / "root/usr/lib64")
    for node in ("ctl", "-uvm", *(gpu["minor"] for gpu in gpus)):
        (folder / f"root/dev/nvidia{node}").touch()
    (folder / "gpus.yaml").write_text(yaml.safe_dump(GUIDE | {"gpus": list(gpus)}))
    (folder / "libvgpu.so").write_bytes(b"limiter")
    return {"HAMI_SIM_FILE": str(folder / "gpus.yaml"), "HAMI_SIM_STATE": str(folder / "sim")}
