"""`up` keeps a cluster that is well and makes any other anew, saying why in one line."""

from pathlib import Path

import pytest
import yaml

from tests.cluster import __main__ as command
from tests.cluster import node_image, podman, versions
from tests.cluster.cluster import Cluster
from tests.cluster.progress import StepFailed, run

RELEASE = versions.KUBERNETES["1.36"]
NODES = ("hami-x-control-plane", "hami-x-worker", "hami-x-worker2", "hami-x-worker3")


class Machine:
    """podman, kubectl and kind of a machine whose nodes can be broken by a test."""

    def __init__(self):
        self.nodes = list(NODES)
        self.dead = set()
        self.version = f"v{RELEASE.version}\n"
        self.image = node_image.tag(RELEASE) + "\n"
        self.api = True
        self.kind = []

    def podman(self, *arguments, limit_s=None):
        if arguments[0] == "ps":
            return "\n".join(self.nodes) if "label" in str(arguments) else ""
        if arguments[0] == "exec":
            if arguments[1] in self.dead:
                raise StepFailed("exit code 255 from: podman exec\nError: container state improper")
            return self.version
        if arguments[0] == "inspect":
            return self.image
        if arguments[0] == "rm":
            self.nodes.remove(arguments[-1])
        return ""

    def kubectl(self, *arguments, stdin=None):
        if arguments[:2] == ("get", "nodes"):
            return "".join(f"node/{name}\n" for name in self.nodes if name not in self.dead)
        if not self.api:
            raise StepFailed("exit code 1 from: kubectl\nThe connection to the server was refused")
        return "ok"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    found = Machine()
    monkeypatch.setattr(versions, "CACHE", tmp_path)
    monkeypatch.setattr(podman, "podman", found.podman)
    monkeypatch.setattr(Cluster, "kubectl", lambda self, *arguments, **_: found.kubectl(*arguments))
    monkeypatch.setattr("tests.cluster.cluster.API_ATTEMPTS", 1)
    monkeypatch.setattr(Cluster, "_kind", lambda self, *arguments, **_: found.kind.append(arguments))
    return found


@pytest.fixture
def cluster(machine):
    made = Cluster("hami-x")
    made.folder.mkdir(parents=True)
    made.inventory.touch()
    made.kubeconfig.touch()
    return made


def test_a_cluster_that_answers_has_no_problem(cluster):
    assert cluster.problem(RELEASE) == ""


def test_the_worker_for_npus_is_labelled_so_and_rolled_out_to_as_no_gpu_node(cluster, machine, monkeypatch):
    monkeypatch.setattr(node_image, "build", lambda release: "image")
    cluster.create(RELEASE)
    (call,) = machine.kind
    config = yaml.safe_load(Path(call[call.index("--config") + 1]).read_text())
    assert config["nodes"][-1] == {"role": "worker", "labels": {"npu": "on"}}
    groups = yaml.safe_load(cluster.inventory.read_text())["all"]["children"]
    assert list(groups["gpu_nodes"]["hosts"]) == ["hami-x-worker", "hami-x-worker2"]


def test_a_worker_that_never_joins_is_told_with_where_to_look(cluster, machine, monkeypatch):
    monkeypatch.setattr(node_image, "build", lambda release: "image")
    monkeypatch.setattr("tests.cluster.cluster.JOIN_ATTEMPTS", 1)
    machine.dead = {NODES[3]}
    with pytest.raises(StepFailed, match=f"{NODES[3]}: no kubelet joins.*max_user_instances"):
        cluster.create(RELEASE)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"dead": {NODES[1]}}, "hami-x-worker does not run"),
        ({"version": "v1.34.4\n"}, "hami-x-control-plane is Kubernetes 1.34.4, not 1.36.3"),
        ({"image": "localhost/hami-dra/kind-node:v1.36.3-old\n"}, "another image"),
        ({"nodes": list(NODES[:2])}, "2 of 4 nodes are there"),
        ({"api": False}, "its API server does not answer (The connection to the server was refused)"),
    ],
)
def test_whatever_is_wrong_with_a_cluster_is_said(cluster, machine, broken, said):
    vars(machine).update(broken)
    assert said in cluster.problem(RELEASE)


def test_up_makes_a_dead_cluster_anew_and_says_so(cluster, machine, monkeypatch, capsys):
    machine.dead = set(NODES)
    made = []
    monkeypatch.setattr(command.debian, "install", lambda: None)
    monkeypatch.setattr(command, "load_images", lambda _: None)
    monkeypatch.setattr(Cluster, "create", lambda self, release: made.append(release))
    command.up(cluster, RELEASE)
    assert "hami-x is made anew: hami-x-control-plane does not run" in capsys.readouterr().err
    assert made == [RELEASE]
    assert machine.nodes == []
    assert not cluster.folder.exists()


def test_up_keeps_a_cluster_that_answers(cluster, machine, monkeypatch):
    monkeypatch.setattr(command.debian, "install", lambda: None)
    monkeypatch.setattr(command, "load_images", lambda _: None)
    command.up(cluster, RELEASE)
    assert machine.kind == []


def test_a_container_that_kind_cannot_delete_is_removed_by_force(cluster, machine, monkeypatch):
    def broken(self, *arguments, **_):
        raise StepFailed("kind: failed to delete nodes")

    monkeypatch.setattr(Cluster, "_kind", broken)
    cluster.delete()
    assert machine.nodes == []


def test_a_command_that_hangs_is_ended():
    with pytest.raises(StepFailed, match="exit code -9"):
        run(["sleep", "30"], limit_s=0.2)
