"""Puts the compiled parts into the wheel, and says for which machines it is then.

Without native/build (a wheel made from the sdist alone) the wheel is pure: all works but `hami run` and the
plugin, which say what is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = (
    "libvgpu.so",
    "sim/libcuda.so.1",
    "sim/libnvidia-ml.so.1",
    "sim/nvidia-smi",
    "sim/hami-fill",
    "sim/hami-burn",
)
# e_machine of the ELF header -> the wheel's platform. The libraries ask for glibc 2.17 (native/flags.mk).
PLATFORMS = {
    62: "manylinux_2_17_x86_64.manylinux2014_x86_64",
    183: "manylinux_2_17_aarch64.manylinux2014_aarch64",
}


class NativeParts(BuildHookInterface[Any]):
    """See hatchling's `custom` build hook."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """VERSION is `editable` for `pip install -e`, which finds native/build by itself."""
        built = Path(self.root) / "native/build"
        if version == "editable" or not (built / NATIVE[0]).is_file():
            return
        machine = int.from_bytes((built / NATIVE[0]).read_bytes()[18:20], "little")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{PLATFORMS[machine]}"
        build_data["force_include"] |= {str(built / name): f"hami_dra/_native/{name}" for name in NATIVE}
