"""The bill of materials of a release: CycloneDX 1.6, from the lock file, with the hashes that it locks."""

from __future__ import annotations

import datetime
import re
import uuid
from pathlib import Path
from typing import Any

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
NATIVE = (
    ("libvgpu", "the limiter, in containers"),
    ("hami-sim", "simulated libcuda and libnvidia-ml, and sample programs"),
)


def document(repo: Path, version: str, epoch: int) -> dict[str, Any]:
    """What the wheel, the image and the chart are made of."""
    components = [_native(name, about, version) for name, about in NATIVE]
    components += locked((repo / "requirements/runtime.txt").read_text())
    root = {
        "type": "application",
        "bom-ref": f"pkg:pypi/hami-dra@{version}",
        "purl": f"pkg:pypi/hami-dra@{version}",
        "name": "hami-dra",
        "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    made = datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'hami-dra@{version}#{epoch}')}",
        "version": 1,
        "metadata": {"timestamp": made, "component": root},
        "components": components,
        "dependencies": [{"ref": root["bom-ref"], "dependsOn": [each["bom-ref"] for each in components]}],
    }


def locked(requirements: str) -> list[dict[str, Any]]:
    """The components of a requirements file with hashes. A package has a hash for each of its files."""
    found: list[dict[str, Any]] = []
    for line in requirements.splitlines():
        if pinned := _PINNED.match(line):
            name, version = pinned.groups()
            purl = f"pkg:pypi/{name.lower()}@{version}"
            found.append(
                {
                    "type": "library",
                    "bom-ref": purl,
                    "purl": purl,
                    "name": name,
                    "version": version,
                    "hashes": [],
                }
            )
        if found:
            sums = _HASH.findall(line)
            found[-1]["hashes"] += [{"alg": "SHA-256", "content": content} for content in sums]
    return found


def _native(name: str, about: str, version: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": f"native:{name}@{version}",
        "name": name,
        "version": version,
        "description": about,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
