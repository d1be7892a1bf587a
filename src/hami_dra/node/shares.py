"""The folder of each share: `limits` that we write, `ledger` that the limiter in the container writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hami_dra.model import ledger
from hami_dra.model.share import Share
from hami_dra.node.files import created, ensure_whole


class ShareFolders:
    """`<state>/shares/<shareID>/`."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "shares"

    def path(self, share_id: str) -> Path:
        """The folder of one share."""
        return self._folder / share_id

    def write(self, share: Share) -> None:
        """Make or mend the folder. A ledger of the right size stays: running processes account in it."""
        folder = self.path(share.share_id)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # containers run as any user, and the umask must not decide
        _make_ledger(folder / "ledger")
        ensure_whole(folder / "limits", share.limits().encode())

    def is_used(self, share_id: str) -> bool:
        """Whether a process computes on the share now, as far as its limiter tells."""
        try:  # without waiting: its container may have a lease on it
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(self.path(share_id) / "ledger", flags)
        except OSError:  # gone, or a whole device, which has none
            return False
        try:
            return ledger.is_taken(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, share_id: str) -> None:
        """Remove one share's folder; fine when it is gone, or when a whole device has none."""
        if share_id:  # without it the path is that of all shares
            shutil.rmtree(self.path(share_id), ignore_errors=True)

    def ids(self) -> set[str]:
        """The shares that have a folder."""
        return {entry.name for entry in self._folder.iterdir()} if self._folder.is_dir() else set()


def _make_ledger(path: Path) -> None:
    if path.is_file() and path.stat().st_size == ledger.SIZE:
        return
    temporary = path.with_name(".ledger.tmp")
    with created(temporary, 0o666) as descriptor:
        os.posix_fallocate(descriptor, 0, ledger.SIZE)  # a full disk shows here, not as SIGBUS in a program
    os.rename(temporary, path)
