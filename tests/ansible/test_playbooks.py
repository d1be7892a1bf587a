"""The rollout as a person would start it, without a cluster: syntax, tags, documentation, collection."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.cluster import collection

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
def archive(tmp_path_factory):
    """The collection as a file."""
    return collection.build(tmp_path_factory.mktemp("collection"))


def test_the_collection_holds_what_a_rollout_needs_and_nothing_else(archive):
    with tarfile.open(archive) as opened:
        names = set(opened.getnames())
    carried = ["charts", "inventory", "meta", "playbooks", "plugins", "roles"]
    assert set(command("git", "ls-files", "-z", *carried).split("\0")) - {""} <= names
    top = {name.partition("/")[0] for name in names if "/" in name}
    # Of `native` what `make native` built.
    assert sorted(top - {"native"}) == carried
    driver = {"libcuda.so.1", "libnvidia-ml.so.1", "nvidia-smi"}
    compiled = {name for name in names if name.startswith("native/build/sim/")}
    assert compiled <= {f"native/build/sim/{name}" for name in driver}
    assert {name for name in names if name.startswith("native/")} - compiled <= {
        "native/build",
        "native/build/sim",
    }
