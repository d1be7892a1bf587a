"""What `hami node-facts` sees in the folders that the plugin's own code writes."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hami_dra import native_files
from hami_dra.model.names import DRIVER
from hami_dra.model.share import PreparedClaim
from hami_dra.node import limiter_files, selinux
from hami_dra.node.checkpoint import Checkpoint
from hami_dra.node.shares import ShareFolders
from hami_dra.ops import host_facts, node_facts
from hami_dra.ops.node_facts import Places
from tests.support import cards

UID = "0b5fca8e-5b2c-4a3c-9f6e-6d4f2c3b1a00"


@pytest.fixture
def limiter(tmp_path, monkeypatch):
    library = tmp_path / "shipped.so"
    library.write_bytes(b"the limiter")
    monkeypatch.setattr(native_files, "find", lambda name: library)
    return library


@pytest.fixture
def places(short_path, limiter):
    """A node with one prepared claim, everything where it belongs."""
    where = Places(short_path / "state", short_path / "cdi", short_path / "p", short_path / "r")
    (where.plugins / DRIVER).mkdir(parents=True)
    where.registry.mkdir()
    where.cdi.mkdir()
    limiter_files.install(limiter, where.library)
    share = share_of(cards.share())
    ShareFolders(where.state).write(share)
    (where.cdi / f"k8s.{DRIVER}-claim_{UID}.yaml").touch()
    Checkpoint(where.state / "checkpoint.json").save({UID: PreparedClaim(UID, "default", "c", (share,))})
    listening = [listen(where.plugins / DRIVER / "dra.sock"), listen(where.registry / f"{DRIVER}-reg.sock")]
    yield where
    for each in listening:
        each.close()


def share_of(result):
    from hami_dra.model.share import Share

    consumed = {"memory": 10 * 1024**3, "cores": 50}
    return Share(result["shareID"], "gpu", cards.NODE, "hami-gpu-0", cards.A10.uuid, consumed)


def listen(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def seen(places):
    return node_facts.gather("gpu-a", places, host=False).drivers[DRIVER]


def seen_of(places, driver):
    return node_facts.gather("gpu-a", places, host=False).drivers[driver]


def limiter_problem(places):
    return node_facts.gather("gpu-a", places, host=False).limiter_problem


def test_a_node_that_the_plugin_has_set_up_has_nothing_to_complain_of(places):
    found = seen(places)
    assert found.answering == ["service", "registration"]
    assert found.prepared == [UID]
    assert [limiter_problem(places), found.checkpoint_problem] == ["", ""]
    assert [found.orphans, found.broken_shares, found.silent] == [[], [], []]


def test_a_socket_that_was_removed_and_one_whose_owner_died_are_told_apart(places):
    (places.registry / f"{DRIVER}-reg.sock").unlink()
    assert seen(places).answering == ["service"]
    listen(places.registry / f"{DRIVER}-reg.sock").close()
    assert seen(places).silent == ["registration"]


@pytest.mark.parametrize("option", ["exec", "noexec"])
def test_a_folder_that_no_library_can_be_mapped_from_is_named(option):
    """In a mount namespace of its own, whose process 1 it is: the host's, as the plugin sees it."""
    script = f'mount -t tmpfs -o {option} none /mnt && exec "$@"'
    facts = [sys.executable, "-m", "hami_dra.cli.main", "node-facts", "--limiter-dir", "/mnt/hami"]
    own = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]
    done = subprocess.run([*own, "sh", "-c", script, "sh", *facts], capture_output=True, check=True)
    assert json.loads(done.stdout)["unmappable"] == ("/mnt/hami" if option == "noexec" else "")


def test_a_library_that_is_gone_changed_or_of_another_version_is_named(places, limiter):
    (library,) = (places.state / "lib").glob("libvgpu.so.*")
    library.write_bytes(b"something else")
    assert "not what its name says" in limiter_problem(places)
    library.unlink()
    assert "there is no" in limiter_problem(places)
    other = hashlib.sha256(b"older").hexdigest()[:12]
    (library.parent / f"libvgpu.so.{other}").write_bytes(b"older")
    assert "is not the one of version" in limiter_problem(places)


def test_a_damaged_checkpoint_is_told_and_its_shares_are_not_called_orphans(places):
    path = places.state / "checkpoint.json"
    path.write_bytes(path.read_bytes()[:-20])
    found = seen(places)
    assert "checkpoint" in found.checkpoint_problem
    assert found.orphans == []
    assert found.set_aside == []
    Checkpoint(path).replace_damaged({})
    assert len(seen(places).set_aside) == 1


def test_folders_and_cdi_files_without_a_claim_are_orphans(places):
    (places.state / "shares" / "left").mkdir()
    (places.cdi / f"k8s.{DRIVER}-claim_gone.yaml").touch()
    assert seen(places).orphans == ["left", "gone"]


@pytest.mark.parametrize(("name", "content"), [("limits", b"version=1\n"), ("ledger", b"short")])
def test_a_share_whose_files_cannot_be_used_is_named(places, name, content):
    (folder,) = (places.state / "shares").iterdir()
    (folder / name).write_bytes(content)
    assert seen(places).broken_shares == [folder.name]


def test_a_ledger_that_its_container_made_larger_than_memory_is_named(places):
    (folder,) = (places.state / "shares").iterdir()
    os.truncate(folder / "ledger", 1 << 42)
    assert seen(places).broken_shares == [folder.name]


def test_each_family_has_files_and_sockets_of_its_own(places):
    npu = "ascend.project-hami.io"
    (places.plugins / npu).mkdir()
    (places.cdi / f"k8s.{npu}-claim_gone.yaml").touch()
    state = places.state / "families" / npu
    state.mkdir(parents=True)
    (state / "checkpoint.json").write_text("}")
    found = node_facts.gather("gpu-a", places, host=False).drivers
    assert list(found) == [npu, DRIVER]
    assert "checkpoint" in found[npu].checkpoint_problem
    assert found[npu].answering == []
    assert found[DRIVER].orphans == [], "the other's file is not its own"
    (state / "checkpoint.json").unlink()
    assert seen_of(places, npu).orphans == ["gone"]
    only = node_facts.gather("gpu-a", places, host=False, drivers=[npu], refused=["acme.yaml: x"])
    assert (list(only.drivers), only.limiter_problem, only.refused) == ([npu], "", ["acme.yaml: x"])


def test_a_folder_that_selinux_closes_to_containers_is_told(places):
    assert not node_facts.gather("n", places, host=False).mislabelled
    os.setxattr(places.state, "security.selinux", b"system_u:object_r:var_lib_t:s0")
    assert node_facts.gather("n", places, host=False).mislabelled
    selinux.open_to_containers(places.state)
    assert not node_facts.gather("n", places, host=False).mislabelled


@pytest.mark.parametrize(
    ("configuration", "switch"),
    [
        ('[plugins."io.containerd.grpc.v1.cri"]\n    enable_cdi = true\n', True),
        ("    enable_cdi = false\n", False),
        ("version = 2\n", None),
        ("  enable_cdi = true\n  cdi_spec_dirs = ['/etc/cdi']\n", False),
        ("  cdi_spec_dirs = ['/etc/cdi', '/var/run/cdi']\n  enable_cdi = true\n", True),
        ('  cdi_spec_dirs = ["/run/cdi"]\n', None),
    ],
)
def test_the_runtimes_own_configuration_decides_about_cdi(configuration, switch):
    assert host_facts.cdi_switch(configuration) is switch


def test_without_a_word_the_runtimes_version_decides():
    assert host_facts.cdi_by_version("containerd://2.0.0") is True
    assert host_facts.cdi_by_version("containerd://1.7.27") is None
    assert host_facts.cdi_by_version("cri-o://1.34.1") is True
