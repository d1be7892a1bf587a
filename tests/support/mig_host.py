"""A simulated host with the guide's A10 and an A30 in MIG mode (NVML, and the driver's files and nodes)."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from hami_dra import native_files

GUIDE = Path(__file__).parents[1] / "guide/gpus-a10.yaml"
A30 = {
    "productName": "NVIDIA A30",
    "uuid": "GPU-5d3c1f60-1111-4a0a-9c55-0000000000a0",
    "minor": 1,
    "memoryMiB": 24576,
    "pciBusId": "0000:c5:00.0",
}


def make(folder: Path) -> dict[str, str]:
    """Make it in FOLDER, with what a plugin needs beside it; `root` is the driver root.

    Nobody has cut the A30. Returns the variables with which libnvidia-ml.so.1 in it shows these cards.
    """
    for part in ("registry", "plugins", "state", "root/usr/lib64", "root/dev/nvidia-caps"):
        (folder / part).mkdir(parents=True)
    shutil.copy(native_files.find("sim/libnvidia-ml.so.1"), folder / "root/usr/lib64")
    capabilities = folder / "root/proc/driver/nvidia/capabilities/gpu1/mig"
    for number in range(1, 8):  # as the driver has them, whether or not there is an instance
        (capabilities / f"gi{number}/ci0").mkdir(parents=True)
        for at, path in enumerate((f"gi{number}/access", f"gi{number}/ci0/access")):
            (capabilities / path).write_text(f"DeviceFileMinor: {10 * number + at}\n")
            (folder / f"root/dev/nvidia-caps/nvidia-cap{10 * number + at}").touch()
    (folder / "root/dev/nvidia1").touch()
    body = yaml.safe_load(GUIDE.read_text())
    body["gpus"].append({**body["gpus"][0], **A30, "migDevices": "none"})
    (folder / "gpus.yaml").write_text(yaml.safe_dump(body))
    (folder / "libvgpu.so").write_bytes(b"limiter")
    return {"HAMI_SIM_FILE": str(folder / "gpus.yaml"), "HAMI_SIM_STATE": str(folder / "sim")}
