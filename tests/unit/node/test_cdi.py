"""The CDI specification of a claim: who gets the limiter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hami_dra.devices.backend import ClaimEdits
from hami_dra.model.names import DRIVER
from hami_dra.model.parameters import ShareParameters
from hami_dra.model.share import PreparedClaim, Share
from hami_dra.node.cdi import CdiFolder, limiter_edits, specification
from hami_dra.node.limiter_files import LimiterFiles

FILES = LimiterFiles(Path("/state/lib/libvgpu.so.1"), Path("/state/lib/ld.so.preload"))


def spec(*enforcement: str) -> dict[str, Any]:
    shares = tuple(
        Share(
            f"share{at}",
            "gpu",
            "node",
            f"hami-gpu-{at}",
            "GPU",
            {"cores": 0, "memory": 1 << 30},
            parameters=ShareParameters(enforcement=how),
        )
        for at, how in enumerate(enforcement)
    )
    limits = {
        share.key: limiter_edits(share, Path("/state/shares") / share.share_id, FILES)
        for share in shares
        if share.limited
    }
    return specification(DRIVER, PreparedClaim("uid", "default", "c", shares), ClaimEdits(), limits)


def mounted(edits: dict[str, Any]) -> set[str]:
    return {mount["containerPath"] for mount in edits.get("mounts", [])}


def test_each_limited_share_brings_the_limiter_and_its_own_folder() -> None:
    devices = spec("limiter", "limiter")["devices"]
    for at, device in enumerate(devices):
        assert mounted(device["containerEdits"]) == {
            "/usr/local/hami/libvgpu.so",
            "/etc/ld.so.preload",
            "/etc/ld-nix.so.preload",
            f"/run/hami/shares/share{at}",
            f"/run/hami/shares/share{at}/ledger",
        }


def test_the_limiter_can_be_mapped_or_the_container_does_not_start() -> None:
    """The loader goes on without a library that is on a noexec file system. Tried with runc 1.1 and 1.3:
    the option lifts it, and where that is forbidden (a user namespace) the container does not start."""
    (device,) = spec("limiter")["devices"]
    options = {mount["containerPath"]: set(mount["options"]) for mount in device["containerEdits"]["mounts"]}
    executable = {path for path, given in options.items() if "exec" in given}
    assert executable == {"/usr/local/hami/libvgpu.so"}
    assert {path for path, given in options.items() if "ro" not in given} == {
        "/run/hami/shares/share0/ledger"
    }


def test_a_trusted_share_brings_nothing_even_beside_a_limited_one() -> None:
    whole = spec("none", "limiter")
    trusted, limited = whole["devices"]
    assert whole["containerEdits"] == {}
    # Something must be there: runtimes refuse a specification with a device that edits nothing.
    assert trusted["containerEdits"] == {"env": ["HAMI_DEVICE_HAMI_GPU_0=share0"]}
    assert mounted(limited["containerEdits"])


def test_a_file_that_says_the_same_is_left_alone_and_another_one_is_mended(tmp_path: Path) -> None:
    folder, said = CdiFolder(tmp_path, DRIVER), spec("limiter")
    folder.write("uid", said)
    (path,) = tmp_path.iterdir()
    before = path.stat()
    folder.write("uid", said)
    assert path.stat() == before, "a runtime reads again what changes"
    path.write_text("{}")
    folder.write("uid", said)
    assert json.loads(path.read_text()) == said
