"""A card as its driver describes it: no Kubernetes in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """One whole card that can be shared. `memory` is in bytes; versions are as the driver prints them."""

    uuid: str
    minor: int
    product_name: str
    brand: str
    architecture: str
    compute_capability: str
    driver_version: str
    cuda_version: str
    memory: int
    pci_bus_id: str
    pcie_root: str | None = None
    """Root complex such as `pci0000:64`; None where the kernel does not show it (some VMs)."""

    @property
    def name(self) -> str:
        """Name in the ResourceSlice; the number of `/dev/nvidia<minor>` keeps it stable over restarts."""
        return f"hami-gpu-{self.minor}"
