"""What the cluster's set-up does on a machine that has only what the README asks for."""

import shutil

import pytest

from tests.cluster import debian, go_programs, versions
from tests.cluster.progress import StepFailed


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """The packages that were unpacked, with a cache of its own; nothing is downloaded."""
    packages = []

    def unpack(names, suite, into):
        packages.extend(names)
        assert into.is_dir()

    monkeypatch.setattr(versions, "CACHE", tmp_path)
    monkeypatch.setattr(debian, "unpack", unpack)
    return packages


def a_go_that_says(version, tmp_path, monkeypatch):
    path = tmp_path / "bin" / "go"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\necho go version {version} linux/amd64\n")
    path.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(path) if name == "go" else None)
    return path


def test_without_go_that_of_debian_is_fetched_once(fetched, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert go_programs.go() == go_programs.go()
    assert tmp_path in go_programs.go().parents
    assert fetched == [f"golang-{versions.GO_IN_SUITE}-go", f"golang-{versions.GO_IN_SUITE}-src"]


def test_the_go_of_debian_12_is_too_old_to_fetch_a_newer_one(fetched, tmp_path, monkeypatch):
    a_go_that_says("go1.19.8", tmp_path, monkeypatch)
    go_programs.go()
    assert fetched


@pytest.mark.parametrize("version", ["go1.21.0", "go1.26.8"])
def test_the_machines_own_go_is_used(fetched, tmp_path, monkeypatch, version):
    own = a_go_that_says(version, tmp_path, monkeypatch)
    assert go_programs.go() == own
    assert fetched == []


@pytest.mark.parametrize(
    "targets",
    [
        "Debian-Security http://security.example\nDebian http://archive.example\n",
        "Docker http://docker.example\nDebian http://archive.example\n",
    ],
)
def test_the_archive_is_found_whatever_release_the_machine_runs(monkeypatch, targets):
    monkeypatch.setattr(debian, "run", lambda command: targets)
    assert debian.archive() == "http://archive.example"


def test_a_machine_whose_apt_has_no_debian_is_told(monkeypatch):
    monkeypatch.setattr(debian, "run", lambda command: "Ubuntu http://ubuntu.example\n")
    with pytest.raises(StepFailed, match="apt lists no source of Debian"):
        debian.archive()
