"""NVIDIA cards through NVML: libnvidia-ml.so.1 -> pynvml -> Device."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pynvml

from hami_dra.devices import nvidia_edits
from hami_dra.devices.backend import Edits
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.model.device import Device
from hami_dra.model.errors import DriverError

# Words as in the guide's ResourceSlice; numbers from nvml.h.
BRANDS = {
    1: "Quadro",
    2: "Tesla",
    3: "NVS",
    4: "Grid",
    5: "Geforce",
    6: "Titan",
    7: "NvidiaVApps",
    8: "NvidiaVPC",
    9: "NvidiaVCS",
    10: "NvidiaVWS",
    11: "NvidiaCloudGaming",
    12: "QuadroRTX",
    13: "NvidiaRTX",
    14: "Nvidia",
    15: "GeforceRTX",
    16: "TitanRTX",
}
ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada Lovelace",
    9: "Hopper",
    10: "Blackwell",
}


class NvidiaBackend:
    """`Backend` for the cards of one driver root. SYSFS: folders to look for the PCI tree in, in order."""

    def __init__(self, root: DriverRoot, sysfs: tuple[Path, ...] = ()) -> None:
        self._root = root
        self._sysfs = sysfs or (root.path / "sys", Path("/sys"))

    def discover(self) -> list[Device]:
        """See Backend. Cards in MIG mode are left out: their memory belongs to the instances."""
        library = self._root.required_library("libnvidia-ml.so.1")
        try:
            # glibc answers pynvml's own load of "libnvidia-ml.so.1" with the library that has this SONAME.
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            pynvml.nvmlInit()
        except (OSError, pynvml.NVMLError) as problem:
            raise DriverError(f"NVML of {self._root.on_host(library)} does not start: {problem}") from problem
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            found = [self._device(handle) for handle in handles if not _mig_enabled(handle)]
        except pynvml.NVMLError as problem:
            raise DriverError(f"NVML of {self._root.on_host(library)} failed: {problem}") from problem
        finally:
            pynvml.nvmlShutdown()
        return sorted(found, key=lambda device: device.minor)

    def cdi_kind(self) -> str:
        """See Backend: the kind that `nvidia-ctk cdi generate` writes."""
        return "nvidia.com/gpu"

    def common_edits(self) -> Edits:
        """See Backend."""
        return nvidia_edits.common(self._root)

    def device_edits(self, device: Device) -> Edits:
        """See Backend."""
        return nvidia_edits.device(self._root, device.minor)

    def _device(self, handle: Any) -> Device:
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        pci = bus_id(_text(pynvml.nvmlDeviceGetPciInfo(handle).busId))
        return Device(
            uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
            minor=pynvml.nvmlDeviceGetMinorNumber(handle),
            product_name=_text(pynvml.nvmlDeviceGetName(handle)),
            brand=BRANDS.get(pynvml.nvmlDeviceGetBrand(handle), "Unknown"),
            architecture=ARCHITECTURES.get(pynvml.nvmlDeviceGetArchitecture(handle), "Unknown"),
            compute_capability=f"{major}.{minor}",
            driver_version=_text(pynvml.nvmlSystemGetDriverVersion()),
            cuda_version=f"{cuda // 1000}.{cuda % 1000 // 10}",
            memory=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            pci_bus_id=pci,
            pcie_root=self._pcie_root(pci),
        )

    def _pcie_root(self, pci: str) -> str | None:
        """The first `pciXXXX:YY` of the device's real path in sysfs (KEP-4381), None where it has none."""
        for sysfs in self._sysfs:
            entry = sysfs / "bus/pci/devices" / pci
            if entry.exists():
                parts = entry.resolve().parts
                return next((part for part in parts if part.startswith("pci") and ":" in part), None)
        return None


def bus_id(nvml: str) -> str:
    """NVML's 00000000:65:01.0 as the kernel writes it: 0000:65:01.0, lower case."""
    domain, _, rest = nvml.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def _mig_enabled(handle: Any) -> bool:
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:  # no MIG on this card, or a driver too old to know it
        return False
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
