"""A simulated host with the guide's A10 and an A30 in MIG mode (NVML, and the driver's files and nodes)."""

from __future__ import annotations

from pathlib import Path

from tests.support import sim_host

A30 = {
    "productName": "NVIDIA A30",
    "uuid": "GPU-5d3c1f60-1111-4a0a-9c55-0000000000a0",
    "minor": 1,
    "memoryMiB": 24576,
    "pciBusId": "0000:c5:00.0",
}


def make(folder: Path) -> dict[str, str]:
    """As `sim_host.make`. Nobody has cut the A30."""
    variables = sim_host.make(folder, [sim_host.A10, sim_host.A10 | A30 | {"migDevices": "none"}])
    (folder / "root/dev/nvidia-caps").mkdir()
    capabilities = folder / "root/proc/driver/nvidia/capabilities/gpu1/mig"
    for number in range(1, 8):  # as the driver has them, whether or not there is an instance
        (capabilities / f"gi{number}/ci0").mkdir(parents=True)
        for at, path in enumerate((f"gi{number}/access", f"gi{number}/ci0/access")):
            (capabilities / path).write_text(f"DeviceFileMinor: {10 * number + at}\n")
            (folder / f"root/dev/nvidia-caps/nvidia-cap{10 * number + at}").touch()
    return variables
