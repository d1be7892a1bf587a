"""explain: which Pod it looks at, and what it says to whom."""

import pytest
import yaml
from click.testing import CliRunner
from kubernetes import config

from hami_dra.cli.main import cli
from hami_dra.kube import kinds
from hami_dra.model import errors
from tests.support import kube_server
from tests.unit.ops import healthy


def tell(kube, pod, reason, message, **more):
    """An Event about POD."""
    involved = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    event = {"metadata": {"generateName": "train."}, "involvedObject": involved, "reason": reason}
    kube.create(kinds.EVENTS, event | {"message": message} | more, "default")


def test_explain_takes_the_name_that_status_prints(hami, kube):
    kube.patch(kinds.PODS, "web", {"status": {"phase": "Pending"}}, "default")
    assert hami("explain", "default/web", "-n", "elsewhere").output == hami("explain", "web").output
    done = hami("explain", "nobody", "-n", "ml")
    assert isinstance(done.exception, errors.NotFound)
    assert str(done.exception).endswith("not found in namespace ml. Name another with -n")


def test_explain_looks_where_kubectl_looks_and_takes_what_kubectl_takes(hami, kube, tmp_path):
    kube.create(kinds.PODS, healthy.user_pod("alone", template="hami-abc"), "team-a")
    file = tmp_path / "kubeconfig"
    known = yaml.safe_load(file.read_text())
    known["contexts"][0]["context"]["namespace"] = "team-a"
    file.write_text(yaml.safe_dump(known))
    for name in ("alone", "pod/alone", "team-a/alone"):
        assert hami("explain", name).output.startswith("team-a/alone ")


def test_explain_in_a_pod_looks_into_the_namespace_of_its_service_account(kube, tmp_path, monkeypatch):
    kube.create(kinds.PODS, healthy.user_pod("alone", template="hami-abc"), "team-a")
    with kube_server.serving(kube, tmp_path) as kubeconfig:
        host = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        monkeypatch.setattr(config, "load_incluster_config", lambda given: setattr(given, "host", host))
        monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
        monkeypatch.setattr(config.incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
        (tmp_path / "namespace").write_text("team-a")
        in_a_pod = {"KUBERNETES_SERVICE_HOST": "its-cluster", "KUBECONFIG": None}
        done = CliRunner().invoke(cli, ["explain", "alone"], env=in_a_pod)
    assert done.output.startswith("team-a/alone ")


def test_explain_sends_to_the_logs_of_the_release_wherever_it_is(hami, kube):
    kube.delete(kinds.DAEMON_SETS, "hami-dra-driver-kubelet-plugin", healthy.NAMESPACE)
    kube.create(kinds.DAEMON_SETS, healthy.workload("driver", "plugin", 2), "shares")
    pod = kube.patch(kinds.PODS, "train", {"status": {"phase": "Pending"}}, "default")
    tell(kube, pod, "FailedPrepareDynamicResources", "no such card")
    assert "Next: kubectl -n shares logs -l " in hami("explain", "train").output


def test_what_befell_a_former_pod_of_that_name_is_not_told_of_its_successor(hami, kube):
    former = kube.get(kinds.PODS, "train", "default")
    tell(kube, former, "FailedPrepareDynamicResources", "no such card")
    kube.delete(kinds.PODS, "train", "default")
    del former["metadata"]["uid"], former["metadata"]["resourceVersion"]
    kube.create(kinds.PODS, former | {"status": {"phase": "Pending"}}, "default")
    assert "has its share and waits for something else" in hami("explain", "train").output


def test_explain_tells_who_may_look_into_a_namespace_only_what_the_scheduler_says(hami, kube, in_a_namespace):
    said = {"reason": "Unschedulable", "message": "0/2 nodes are available: 2 cannot allocate all claims."}
    kube.patch(kinds.PODS, "train", {"status": {"phase": "Pending", "conditions": [said]}}, "default")
    assert hami("explain", "train").output.startswith(
        f"default/train waits for the scheduler: {said['message']}\n"
    )
    kube.patch(kinds.PODS, "train", {"spec": {"schedulingGates": [{"name": "mine"}]}}, "default")
    assert "is held back by mine" in hami("explain", "train").output


def test_of_the_schedulers_words_those_that_it_said_last_count(hami, kube):
    """An event that comes again stays the same object, older than others by its name."""
    pod = kube.patch(kinds.PODS, "train", {"status": {"phase": "Pending"}}, "default")
    for at, (message, more) in enumerate(
        [
            ("once more", {"series": {"count": 2, "lastObservedTime": "2026-11-25T02:09:00.000000Z"}}),
            ("once", {}),
        ]
    ):
        seen = {"eventTime": f"2026-11-25T02:0{at}:00.000000Z", "lastTimestamp": None}
        tell(kube, pod, "FailedScheduling", message, **seen, **more)
    assert "waits for the scheduler: once more\n" in hami("explain", "train").output


@pytest.mark.parametrize("name", ["", ".", "..", "team-a/", "/", "a/b/c"])
def test_what_is_no_name_of_a_pod_is_not_asked_for(hami, name):
    with pytest.raises(errors.UserError, match="this is no name of a Pod"):
        raise hami("explain", name).exception
