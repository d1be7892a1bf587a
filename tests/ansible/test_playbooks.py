"""The rollout as a person would start it, without a cluster: syntax, tags, documentation, collection."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.ansible.stand_ins import Machine
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


def test_the_playbooks_are_accepted_with_the_sample_inventory():
    paths = [f"playbooks/{playbook}" for playbook in PLAYBOOKS]
    command(BIN / "ansible-playbook", "-i", "inventory/sample", "--syntax-check", *paths)


@pytest.mark.parametrize("role", ROLES)
def test_each_setting_of_a_role_has_an_effect(role):
    folder = ROOT / "roles" / role
    names = yaml.safe_load((folder / "defaults/main.yml").read_text())
    parts = ("tasks/*.yml", "handlers/*.yml", "vars/*.yml", "templates/*", "defaults/*.yml")
    text = "".join(path.read_text() for part in parts for path in folder.glob(part))
    used = {name for name in names if len(re.findall(rf"\b{name}\b", text)) > 1}
    assert sorted(names.keys() - used) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_number_that_is_calculated_with_may_come_from_the_command_line_where_it_is_text(role):
    tasks = "".join(path.read_text() for path in (ROOT / "roles" / role / "tasks").glob("*.yml"))
    assert re.findall(r"\w+_timeout [-+*/].*", tasks) == []


def plays(playbook):
    return yaml.safe_load((ROOT / "playbooks" / playbook).read_text())


def test_the_plays_of_site_are_the_steps_of_the_rollout_in_their_order():
    assert [play["tags"] for play in plays("site.yml")] == [[step] for step in STEPS]


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_each_play_is_a_tag_of_its_own(playbook):
    for play in plays(playbook):
        if "tags" in play or playbook not in ("preflight.yml", "verify.yml"):  # each a tag as a whole
            assert play["tags"] == [play["name"].lower().replace(" ", "_")]


@pytest.mark.parametrize("playbook", ["site.yml", "reset.yml"])
def test_what_may_break_a_node_goes_from_node_to_node_and_ends_at_the_first_that_does_not_come_up(playbook):
    by_name = {play["name"]: play for play in plays(playbook)}
    batches = {name: by_name[name]["serial"] for name in ("Runtime", "Control plane", "Kubelet")}
    assert batches["Control plane"] == 1
    assert "hami_batch | default([1, '100%'])" in batches["Runtime"]
    assert batches["Kubelet"] == (batches["Runtime"] if playbook == "site.yml" else 1)
    assert all(by_name[name]["any_errors_fatal"] for name in batches)


@pytest.mark.parametrize("role", ROLES)
def test_each_knob_of_a_role_is_specified_and_carries_the_roles_name(role):
    knobs = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text())
    options = specification(role)["main"]["options"]
    assert set(knobs) <= set(options)
    assert all(knob.startswith(f"{role}_") for knob in knobs)
    for name, option in options.items():
        if "default" in option and not str(knobs[name]).startswith("{{"):
            assert knobs[name] == option["default"]


@pytest.mark.parametrize("role", ROLES)
def test_what_is_used_of_a_role_from_outside_is_specified(role):
    """An entry of a role without a specification takes any variable, and is in no README."""
    sources = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]
    used = re.findall(rf"name: {role}\n *tasks_from: (\w+)", "".join(path.read_text() for path in sources))
    assert set(used) <= set(specification(role))


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_does_first_and_last_has_the_same_name_in_each(role):
    """The order of the steps, whoever of the files includes the next."""
    tasks = ROOT / "roles" / role / "tasks"
    main = (tasks / "main.yml").read_text()
    steps = [step for step in ("plan", "backup", "apply", "wait", "verify") if f": {step}.yml" in main]
    assert sorted(steps, key=lambda step: main.index(f": {step}.yml")) == steps
    changing = set(ROLES) - {"preflight", "verify"}
    assert (tasks / "apply.yml").exists() == (role in changing)
    # Each file of a family says which: plan_kubeadm beside plan, restore_component beside restore.
    families = {path.stem.partition("_")[0] for path in tasks.glob("*_*.yml")} & {"plan", "restore", "remove"}
    assert all((tasks / f"{family}.yml").exists() for family in families)


def specification(role):
    return yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]


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


def test_every_variable_that_somebody_may_set_is_explained_in_the_sample_inventory():
    """Variables of one role alone are in its README."""
    sample = "".join(path.read_text() for path in (ROOT / "inventory/sample").rglob("*.yml"))
    sources = [path for folder in ("playbooks", "roles") for path in (ROOT / folder).rglob("*.yml")]
    used = set(re.findall(r"\bhami_\w+", "".join(path.read_text() for path in sources)))
    derived = set(re.findall(r"(?m)^(hami_\w+):", (ROOT / "playbooks/group_vars/all.yml").read_text()))
    within = {"hami_program", "hami_report"}
    assert used - derived - within == set(re.findall(r"\bhami_\w+", sample))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "arguments", "batches"),
    [("{}", [], 2), ("{hami_batch: 1}", [], 3), ("{hami_batch: 50%}", ["-e", "hami_batch=3"], 1)],
)
def test_as_many_nodes_change_at_a_time_as_the_inventory_says(tmp_path, setting, arguments, batches):
    machine = Machine(tmp_path)
    machine.program("systemctl", "for unit in crio 1 2 3 4; do echo inactive; done; echo active")
    machine.program("containerd", "[ \"$1\" = --version ] && echo v2.4.0 || echo 'version = 4'")
    hosts = f"all: {{vars: {setting}}}\ncontrol_plane: {{hosts: {{a: }}}}\n"
    hosts += "gpu_nodes: {hosts: {b: , c: , d: }}\n"
    arguments = ["--tags", "runtime", *arguments]
    output = machine.output(ROOT / "playbooks/site.yml", *arguments, inventory=hosts)
    assert output.count("PLAY [Runtime]") == batches


@pytest.mark.slow
def test_an_inventory_of_the_control_plane_alone_is_no_error(tmp_path):
    inventory = "gpu_nodes: {hosts: {}}\ncontrol_plane: {hosts: {a: }}\n"
    for playbook in ("site.yml", "reset.yml"):
        (tmp_path / playbook).mkdir()
        machine = Machine(tmp_path / playbook)
        machine.play(ROOT / "playbooks" / playbook, "--tags", "runtime", inventory=inventory)
