"""The rollout as a person would start it, without a cluster: syntax, tags, documentation, collection."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PLAYBOOKS = sorted(path.name for path in (ROOT / "playbooks").glob("*.yml"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
STEPS = [
    "preflight",
    "runtime",
    "control_plane",
    "kubelet",
    "operator",
    "certs",
    "simulator",
    "images",
    "label",
    "driver",
    "verify",
]


def command(*arguments: str | Path, cwd: Path = ROOT) -> str:
    env = dict(os.environ) | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "False"}
    done = subprocess.run([str(a) for a in arguments], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_each_playbook_is_accepted_with_the_sample_inventory(playbook):
    command(BIN / "ansible-playbook", "-i", "inventory/sample", f"playbooks/{playbook}", "--syntax-check")


def test_the_plays_of_site_are_its_tags_in_the_order_of_the_rollout():
    plays = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    assert [play["tags"] for play in plays] == [[step] for step in STEPS]
    assert [play["name"].lower().replace(" ", "_") for play in plays] == STEPS


@pytest.mark.parametrize("role", ROLES)
def test_each_knob_of_a_role_is_specified_and_carries_the_roles_name(role):
    knobs = set(yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text()))
    specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())
    assert knobs <= set(specs["argument_specs"]["main"]["options"])
    assert all(knob.startswith(f"{role}_") for knob in knobs)


def test_the_roles_readmes_are_what_their_specifications_say():
    command(sys.executable, "scripts/role-readmes", "--check")


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """The collection as a file: its path, and the names in it."""
    folder = tmp_path_factory.mktemp("collection")
    command(BIN / "ansible-galaxy", "collection", "build", "--output-path", folder)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        return archive, opened.getnames()


def test_the_collection_holds_what_a_rollout_needs_and_nothing_else(collection):
    names = set(collection[1])
    assert {
        "playbooks/site.yml",
        "roles/verify/tasks/main.yml",
        "charts/hami/Chart.yaml",
        "plugins/modules/look.py",
        "inventory/sample/hosts.yml",
    } <= names
    top = {name.partition("/")[0] for name in names if "/" in name}
    # Of `native` what `make native` built.
    assert top - {"native"} == {"charts", "inventory", "meta", "playbooks", "plugins", "roles"}
    driver = {"libcuda.so.1", "libnvidia-ml.so.1", "nvidia-smi"}
    compiled = {name for name in names if name.startswith("native/build/sim/")}
    assert compiled <= {f"native/build/sim/{name}" for name in driver}
    assert {name for name in names if name.startswith("native/")} - compiled <= {
        "native/build",
        "native/build/sim",
    }


@pytest.mark.slow
def test_site_runs_from_the_collection_as_it_is_installed_without_a_network(collection, tmp_path):
    archive, _ = collection
    command(BIN / "ansible-galaxy", "collection", "install", "--offline", "--force", "-p", tmp_path, archive)
    inventory = tmp_path / "hosts.yml"
    here = f"ansible_connection: local, ansible_become: false, ansible_python_interpreter: {sys.executable}"
    inventory.write_text(
        "control_plane: {hosts: {away: }}\n"
        f"gpu_nodes: {{hosts: {{here: {{{here}, hami_driver: host}}}}}}\n"
    )
    done = subprocess.run(
        [
            BIN / "ansible-playbook",
            "-i",
            inventory,
            "hami.dra.site",
            "--tags",
            "preflight",
            "--limit",
            "here",
        ],
        cwd=tmp_path,
        env=dict(os.environ) | {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
    )
    # What this machine lacks is another matter: modules and filters of the collection were found and used.
    assert "hami.dra.preflight : Require a node that is fit for it" in done.stdout, done.stdout + done.stderr
    assert "couldn't resolve module" not in done.stderr
    assert "No filter" not in done.stdout + done.stderr
