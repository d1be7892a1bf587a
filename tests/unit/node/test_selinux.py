"""The label of the folders that containers get files from: a real attribute, on a kernel without SELinux."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hami_dra.node import selinux

USABLE = b"system_u:object_r:container_file_t:s0"
LABEL = "security.selinux"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder as a host with SELinux labels it, with a share of a former start."""
    folder = tmp_path / "hami"
    (folder / "shares" / "a").mkdir(parents=True)
    (folder / "shares" / "a" / "ledger").touch()
    (folder / "link").symlink_to("/etc/passwd")
    for path in (folder, *folder.rglob("*")):
        os.setxattr(path, LABEL, b"system_u:object_r:var_lib_t:s0", follow_symlinks=False)
    return folder


def test_a_folder_that_containers_may_not_read_is_labelled_with_all_that_is_in_it(state: Path) -> None:
    assert selinux.closed(state)
    selinux.open_to_containers(state)
    assert not selinux.closed(state)
    for path in (state, *state.rglob("*")):
        assert os.getxattr(path, LABEL, follow_symlinks=False) == USABLE
    assert LABEL not in os.listxattr("/etc/passwd"), "a link leads out of the folder"


def test_a_label_of_the_administrators_stays(state: Path) -> None:
    own = b"system_u:object_r:container_file_t:s0:c1,c2"
    os.setxattr(state, LABEL, own)
    selinux.open_to_containers(state)
    assert os.getxattr(state, LABEL) == own
    assert b"var_lib_t" in os.getxattr(state / "shares", LABEL)


def test_without_selinux_nothing_is_labelled(tmp_path: Path) -> None:
    selinux.open_to_containers(tmp_path / "new")
    assert not selinux.closed(tmp_path / "new")
    assert LABEL not in os.listxattr(tmp_path / "new")


def test_a_plugin_that_may_not_label_says_so_and_goes_on(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setxattr", refuse)
    with capture_logs() as logs:
        selinux.open_to_containers(state)
    assert [entry["folder"] for entry in logs] == [str(state)]
