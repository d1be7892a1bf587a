"""The folders of shares: what one claim gives back is its own and nobody else's."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hami_dra.model.share import Share
from hami_dra.node.shares import ShareFolders


def test_giving_back_a_whole_device_leaves_the_shares_of_others(tmp_path: Path) -> None:
    folders = ShareFolders(tmp_path)
    folders.write(Share("one", "gpu", "node", "hami-gpu-0", "GPU-1", {"cores": 50, "memory": 10 << 30}))
    folders.remove("")
    assert folders.ids() == {"one"}
    folders.remove("one")
    assert folders.ids() == set()


def test_nobody_computes_on_a_whole_device_or_on_a_share_that_is_gone(tmp_path: Path) -> None:
    folders = ShareFolders(tmp_path)
    assert not folders.is_used("")
    assert not folders.is_used("gone")


def test_a_disk_without_space_for_a_ledger_is_told_by_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/shares/"):
        ShareFolders(tmp_path).write(
            Share("s", "gpu", "node", "hami-gpu-0", "GPU-0", {"memory": 1, "cores": 0})
        )
