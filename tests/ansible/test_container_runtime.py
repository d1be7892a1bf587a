"""What the role container_runtime would change, by check mode on this machine.

The programs that it asks (systemctl, containerd, crio) are simulated: scripts with fixed answers. Real ones
run in the molecule scenario container_runtime.
"""

import gzip
import json

import pytest

from hami_dra import __version__
from tests.ansible.stand_ins import Machine

pytestmark = pytest.mark.slow

PASSWORD = "planted-secret-4711"

CONTAINERD = f"""\
version = 3
[plugins."io.containerd.cri.v1.images".registry.configs."registry.example.com".auth]
  username = "puller"
  password = "{PASSWORD}"
[plugins."io.containerd.cri.v1.runtime"]
  enable_cdi = false
[plugins."io.containerd.cri.v1.images".registry.configs."other.example.com".auth]
  password = "{PASSWORD}"
"""


class Node(Machine):
    """A node with a runtime."""

    def runs(self, service: str) -> None:
        """Let systemctl say that SERVICE, and none of the others that are asked for, is active."""
        answers = f"""
if [ "$1" = is-active ]; then
  shift
  for unit in "$@"; do [ "$unit" = {service} ] && echo active || echo inactive; done
else
  printf 'Id={service}.service\\nLoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n'
fi"""
        self.program("systemctl", answers)

    def crio(self, settings: str) -> None:
        """A CRI-O with SETTINGS in [crio.runtime]; like the real one it leaves out what is as by default."""
        self.runs("crio")
        self.program("crio", f"cat <<'END'\n[crio.runtime]\n# cdi_spec_dirs = []\n{settings}\nEND")

    def check(self, *arguments: str, fails: bool = False) -> str:
        """The output of the role in check and diff mode."""
        book = self.folder / "play.yml"
        book.write_text("- hosts: all\n  gather_facts: false\n  roles: [container_runtime]\n")
        config = self.folder / "config.toml"
        config.write_text(CONTAINERD)
        more = ["--check", "--diff", "-e", f"container_runtime_config={config}", *arguments]
        return self.play(book, *more, inventory="all: {hosts: {node: }}", fails=fails)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def test_crio_as_it_is_installed_needs_nothing(node):
    node.crio("")
    assert "changed=0" in node.check()


def test_crio_gets_the_folder_that_is_missing_beside_its_owners(node):
    node.crio('cdi_spec_dirs = ["/opt/cdi"]')
    assert '+cdi_spec_dirs = ["/opt/cdi", "/var/run/cdi"]' in node.check()


def test_crio_without_any_folder_gets_ours(node):
    node.crio("cdi_spec_dirs = []")
    assert '+cdi_spec_dirs = ["/var/run/cdi"]' in node.check()


def test_a_crio_that_cannot_read_its_configuration_stops_the_run_with_its_words(node):
    node.crio("")
    node.program("crio", "echo '/etc/crio/crio.conf: line 7: expected value' >&2; exit 1")
    output = node.check(fails=True)
    assert "CRI-O cannot read its configuration: /etc/crio/crio.conf: line 7: expected value" in output
    assert "changed=0" in output


def test_a_registrys_password_beside_the_change_is_in_no_output_however_much_is_asked_for(node):
    node.runs("containerd")
    node.program("containerd", f'[ "$1" = --version ] && echo v2.1.0 || cat {node.folder / "config.toml"}')
    output = node.check("-vvv")
    assert "+ enable_cdi = true" in output
    assert PASSWORD not in output


def test_a_containerd_that_knows_no_switch_for_cdi_has_it_always_on(node):
    """As containerd 2.4 does: its dump leaves `enable_cdi` out, whatever the file says."""
    node.runs("containerd")
    node.program("containerd", "[ \"$1\" = --version ] && echo v2.4.0 || echo 'version = 4'")
    assert "changed=0" in node.check()


def test_a_containerd_that_reads_other_folders_than_the_plugins_stops_the_run(node):
    node.runs("containerd")
    dump = node.folder / "dump"
    node.program("containerd", f'[ "$1" = --version ] && echo v2.1.0 || cat {dump}')
    dump.write_text("version = 3\ncdi_spec_dirs = ['/etc/cdi', '/opt/cdi']\n")
    assert "node: cdi_spec_dirs in containerd's configuration lacks /var/run/cdi" in node.check(fails=True)
    dump.write_text("version = 3\ncdi_spec_dirs = ['/etc/cdi', '/var/run/cdi']\n")
    assert "changed=0" in node.check()


IMAGE = "registry.example.com/hami-dra:1.0"


@pytest.fixture
def store(node):
    """What a containerd has, one image a line; `import` adds the lines of an archive that is text here."""
    node.runs("containerd")
    config = node.folder / "config.toml"
    config.write_text(CONTAINERD)
    node.program("containerd", f'[ "$1" = --version ] && echo v2.1.0 || cat {config}')
    images = node.folder / "images"
    images.write_text(f"{IMAGE}-other\n")
    node.program("ctr", f"case $* in *list*) cat {images} ;; *import*) cat >>{images} ;; esac")
    return images


NAMED = {"registry": "registry.example.com", "repository": "hami-dra", "tag": "1.0"}


def load(node, archive: bytes, fails: bool = False, named: dict | None = NAMED) -> str:
    """The output of the tasks that load an image from an ARCHIVE; what they carry over is gone afterwards."""
    book, source, copy = node.folder / "play.yml", node.folder / "archive", node.folder / "state/copy"
    tasks = "[include_role: {name: container_runtime, tasks_from: load_image}]"
    book.write_text(f"- hosts: all\n  gather_facts: false\n  tasks: {tasks}\n")
    source.write_bytes(archive)
    settings = {
        "container_runtime_config": str(node.folder / "config.toml"),
        "container_runtime_archive": str(source),
        "container_runtime_archive_copy": str(copy),
    } | ({"hami_image": named} if named else {})
    output = node.play(book, "-e", json.dumps(settings), inventory="all: {hosts: {node: }}", fails=fails)
    assert not copy.exists()
    return output


def test_an_image_is_loaded_where_it_is_missing_and_only_there(node, store):
    load(node, gzip.compress(f"{IMAGE}\n".encode()))
    assert store.read_text().splitlines() == [f"{IMAGE}-other", IMAGE]
    assert "changed=0" in load(node, b"never read")
    assert store.read_text().splitlines() == [f"{IMAGE}-other", IMAGE]


@pytest.mark.parametrize(
    ("named", "image"),
    [
        (None, f"ghcr.io/hami-dra/hami-dra:{__version__}"),
        ({"registry": "mirror.example.com"}, f"mirror.example.com/hami-dra:{__version__}"),
        ({"registry": "", "tag": "1.0"}, "docker.io/hami-dra:1.0"),
    ],
)
def test_what_hami_image_leaves_out_is_as_the_chart_has_it(node, store, named, image):
    load(node, f"{image}\n".encode(), named=named)
    assert store.read_text().splitlines()[-1] == image


def test_an_archive_without_the_image_is_named(node, store):
    output = load(node, b"another\n", fails=True)
    assert f"was loaded, but has no image {IMAGE}; let hami_image say what is in it" in output
    assert store.read_text().splitlines()[-1] == "another", "an archive need not be compressed"
