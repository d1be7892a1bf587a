"""Pack container images without a registry: the `docker-archive` form that `ctr images import` reads.

Several images in one archive share their layers, so that kube-proxy and the CNI agent cost one base.
Format: moby image specification v1.2 (manifest.json, one config per image, layers as plain tars).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Image:
    """An image to pack: `files` maps a path in the image to a file here, put over the `base` tar."""

    tag: str
    files: dict[str, Path] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    base: Path | None = None


def pack(images: list[Image], into: Path) -> None:
    """Write all IMAGES as one archive at INTO."""
    with tarfile.open(into, "w") as archive:
        layers: dict[str, str] = {}
        manifest = []
        for image in images:
            names, digests = [], []
            for layer in filter(None, (image.base, _layer(image.files, into.parent))):
                digest = _sha256(layer)
                name = f"{digest}.tar"
                if name not in layers:
                    layers[name] = digest
                    archive.add(layer, arcname=name)
                names.append(name)
                digests.append(f"sha256:{digest}")
                if layer != image.base:
                    layer.unlink()
            config = json.dumps(_config(image, digests)).encode()
            config_name = hashlib.sha256(config).hexdigest() + ".json"
            _add_bytes(archive, config_name, config)
            manifest.append({"Config": config_name, "RepoTags": [image.tag], "Layers": names})
        _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())


def _config(image: Image, digests: list[str]) -> dict[str, object]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": list(image.entrypoint),
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
    }


def _layer(files: dict[str, Path], folder: Path) -> Path | None:
    """A tar with FILES and the folders above them; None when there are none."""
    if not files:
        return None
    path = folder / "layer.partial.tar"
    with tarfile.open(path, "w") as tar:
        made: set[str] = set()
        for name, source in files.items():
            for parent in reversed(Path(name.lstrip("/")).parents):
                if str(parent) not in (".", *made):
                    made.add(str(parent))
                    entry = tarfile.TarInfo(str(parent))
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.mode, entry.size = 0o755, source.stat().st_size
            with source.open("rb") as data:
                tar.addfile(entry, data)
    return path


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _sha256(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
