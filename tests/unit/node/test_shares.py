"""The folders of shares: what one claim gives back is its own and nobody else's."""

from __future__ import annotations

from pathlib import Path

from hami_dra.model.share import Share
from hami_dra.node.shares import ShareFolders


def test_giving_back_a_whole_device_leaves_the_shares_of_others(tmp_path: Path) -> None:
    folders = ShareFolders(tmp_path)
    folders.write(Share("one", "gpu", "node", "hami-gpu-0", "GPU-1", {"cores": 50, "memory": 10 << 30}))
    folders.remove("")
    assert folders.ids() == {"one"}
    folders.remove("one")
    assert folders.ids() == set()
