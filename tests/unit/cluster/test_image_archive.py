import hashlib
import json
import tarfile

import pytest

from tests.cluster import image_archive


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program"
    path.write_bytes(b"#!/bin/true\n")
    return path


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(__file__, arcname="etc/base-file")
    return path


def read(archive, name):
    with tarfile.open(archive) as tar:
        return tar.extractfile(name).read()


def test_an_image_names_its_layers_by_their_content(tmp_path, program):
    out = tmp_path / "images.tar"
    image_archive.pack(
        [image_archive.Image("example.org/a:1", {"/bin/program": program}, ("/bin/program",))], out
    )
    (entry,) = json.loads(read(out, "manifest.json"))
    config = json.loads(read(out, entry["Config"]))
    digests = [f"sha256:{hashlib.sha256(read(out, name)).hexdigest()}" for name in entry["Layers"]]
    assert entry["RepoTags"] == ["example.org/a:1"]
    assert config["rootfs"]["diff_ids"] == digests
    assert config["config"]["Entrypoint"] == ["/bin/program"]


def test_files_are_executable_and_their_folders_exist(tmp_path, program):
    out = tmp_path / "images.tar"
    image_archive.pack([image_archive.Image("a:1", {"/usr/local/bin/program": program})], out)
    (entry,) = json.loads(read(out, "manifest.json"))
    layer = tmp_path / "layer.tar"
    layer.write_bytes(read(out, entry["Layers"][0]))
    with tarfile.open(layer) as tar:
        assert tar.getnames() == ["usr", "usr/local", "usr/local/bin", "usr/local/bin/program"]
        assert tar.getmember("usr/local/bin/program").mode == 0o755


def test_images_on_the_same_base_carry_it_once(tmp_path, program, base):
    out = tmp_path / "images.tar"
    images = [image_archive.Image(f"{name}:1", {f"/bin/{name}": program}, base=base) for name in "ab"]
    image_archive.pack(images, out)
    with tarfile.open(out) as tar:
        names = tar.getnames()
    first, second = json.loads(read(out, "manifest.json"))
    assert first["Layers"][0] == second["Layers"][0]
    assert names.count(first["Layers"][0]) == 1
