"""Where the compiled parts are: in the installed package, or in `native/build` of a checkout."""

from __future__ import annotations

from pathlib import Path

from hami_dra.model.errors import StateError

_PACKAGED = Path(__file__).parent / "_native"
_CHECKOUT = Path(__file__).parents[2] / "native" / "build"


def find(name: str) -> Path:
    """Return the path of a native build product, for example `libvgpu.so` or `sim/nvidia-smi`."""
    for folder in (_PACKAGED, _CHECKOUT):
        path = folder / name
        if path.is_file():
            return path
    raise StateError(f"{name} is not built: looked in {_PACKAGED} and {_CHECKOUT}; run `make build`")
