"""status, top, doctor, verify: what a person and a program get, on narrow and wide terminals and in pipes."""

import json
import re
from types import SimpleNamespace

import pytest
import yaml

from hami_dra.admission.families import of_profiles
from hami_dra.admission.settings import Settings
from hami_dra.devices import families
from hami_dra.kube import kinds
from hami_dra.model import errors
from hami_dra.model.names import DRIVER
from hami_dra.ops import installed
from tests.unit.cli.conftest import METRICS, plain
from tests.unit.ops import healthy

LONG = "train-resnet-large-7d9f6b5c4-x2x4z"


def metrics(node, compute_s=0.0, used=8 * 1024**3):
    labels = (
        f'namespace="team-a",pod="{LONG}",container="cuda",vdevice_index="0",device_uuid="GPU-0",'
        f'node="{node}",share="s-{node}"'
    )
    values = {
        "hami_vgpu_memory_used_bytes": used,
        "hami_vgpu_memory_limit_bytes": 10 * 1024**3,
        "hami_vgpu_core_limit_ratio": 0.5,
        "hami_vgpu_compute_seconds_total": compute_s,
        "hami_vgpu_processes": 3,
    }
    card = f'hami_host_gpu_memory_total_bytes{{node="{node}",device_index="4",device_uuid="GPU-0"}} 1\n'
    return card + "".join(f"{name}{{{labels}}} {value}\n" for name, value in values.items())


@pytest.fixture
def used(kube):
    for node in healthy.NODES:
        kube.texts[METRICS.format(node=node)] = metrics(node)
    return kube


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
@pytest.mark.parametrize("command", [("doctor",), ("status",), ("top", "--once", "--interval", "0.1")])
def test_no_line_is_wider_than_the_terminal(hami, used, command, columns):
    shown = plain(hami(*command, columns=columns).output)
    assert max(map(len, shown.splitlines())) <= columns
    assert not any(line != line.rstrip() for line in shown.splitlines())


def test_doctor_ends_with_0_1_or_2(hami, kube):
    assert hami("doctor").exit_code == 0
    kube.programs.clear()
    assert hami("doctor").exit_code == 2
    kube.delete(kinds.DEVICE_CLASSES, DRIVER)
    assert hami("doctor").exit_code == 1


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_doctor_tells_programs_what_it_tells_people(hami, kube, form, parse):
    kube.delete(kinds.DEVICE_CLASSES, DRIVER)
    findings = {each["id"]: each for each in parse(hami("doctor", "-o", form).output)}
    wrong = findings["device-class"]
    assert (wrong["severity"], wrong["found"], wrong["expected"]) == (
        "error",
        f"{DRIVER} is missing",
        "a DeviceClass for each family that is served",
    )
    assert "helm" in wrong["remedy"]
    assert wrong["page"].endswith("/troubleshooting/device-class/")
    shown = plain(hami("doctor", columns=160).output)
    assert "✗ device-class" in shown
    assert wrong["remedy"] in shown


def test_status_shows_what_is_given_and_what_is_free(hami):
    shown = plain(hami("status").output)
    assert "10Gi/22.5Gi" in shown
    assert "50/100%" in shown
    assert "50/100%  █████░░░░░" in plain(hami("status", columns=160).output)
    assert "35.0Gi of 45.0Gi free, 22.5Gi in one piece" in shown
    seen = json.loads(hami("status", "-o", "json").output)
    assert [(card["node"], card["memory_allocated"]) for card in seen["cards"]] == [
        ("gpu-a", 10 * 1024**3),
        ("gpu-b", 0),
    ]
    assert seen["shares"][0]["pods"] == ["train"]


def test_on_a_narrow_terminal_names_and_numbers_stay_and_bars_go(hami):
    shown = plain(hami("status", columns=44).output)
    (row,) = [line for line in shown.splitlines() if "gpu-a" in line and "10Gi/22.5Gi" in line]
    assert "50/100%" in row
    assert "░" not in shown
    lines = plain(hami("doctor", columns=40).output).splitlines()
    assert lines[lines.index("✓ kubernetes-version") + 1].startswith("    1.")


@pytest.fixture
def crowd(kube):
    """A claim that eight Pods with long names hold; returns their names."""
    names = [f"train-llama-70b-worker-{at:03}-7d9f6b5c4-x2x4z" for at in range(8)]
    holders = [{"resource": "pods", "name": name, "uid": name} for name in names]
    kube.patch(kinds.RESOURCE_CLAIMS, "default-train-c", {"status": {"reservedFor": holders}}, "default")
    return names


def test_in_a_pipe_a_row_is_one_line_and_nothing_is_cut(hami, crowd):
    (row,) = [line for line in plain(hami("status", columns=None).output).splitlines() if "10Gi " in line]
    assert f"  {', '.join(crowd)}  " in row


def test_on_a_terminal_a_row_is_one_line_and_shows_how_its_names_begin_and_end(hami, crowd):
    (row,) = [line for line in plain(hami("status", columns=80).output).splitlines() if "10Gi " in line]
    assert re.search(r" train-\w\S*…\S*x2x4z ", row)
    assert len(row) <= 80


def test_the_command_to_copy_is_not_broken_on_a_narrow_terminal(hami, kube):
    kube.patch(kinds.PODS, "web", {"spec": {"nodeName": None}, "status": {"phase": "Pending"}}, "default")
    assert "\n  hami explain web -n default\n" in plain(hami("status", columns=20).output)


def test_status_says_of_what_it_may_not_read_no_more_than_that(hami, in_a_namespace):
    done = hami("status")
    assert done.exit_code == 2
    shown = plain(done.output)
    assert "cannot read daemon sets: " in shown
    assert "cannot read nodes: " in shown
    assert "Nothing of ours is installed" not in shown
    assert "No node is labelled" not in shown


def test_status_shows_the_components_that_it_may_read_beside_those_that_it_may_not(hami, kube, monkeypatch):
    every = kube.list

    def within(kind, *arguments, **selectors):
        if kind is kinds.DAEMON_SETS:
            raise errors.Denied("daemonsets are forbidden", status=403)
        return every(kind, *arguments, **selectors)

    monkeypatch.setattr(kube, "list", within)
    shown = plain(hami("status").output)
    assert "✓  webhook" in shown
    assert "cannot read daemon sets: " in shown


def test_verify_ends_with_2_where_it_may_not_look(hami, in_a_namespace):
    done = hami("verify")
    assert done.exit_code == 2
    assert "? slices  cannot read" in plain(done.output)
    assert "✗" not in done.output


def test_status_of_a_cluster_without_us_says_what_to_do_next(hami, kube):
    for kind, name in ((kinds.DAEMON_SETS, "hami-dra-driver-kubelet-plugin"), (kinds.DEPLOYMENTS, "")):
        for item in kube.list(kind)[0]:
            if not name or item["metadata"]["name"] == name:
                kube.delete(kind, item["metadata"]["name"], healthy.NAMESPACE)
    done = hami("status")
    assert done.exit_code == 1
    assert "Next: hami doctor" in done.output


def test_status_names_a_waiting_pod_and_the_command_that_explains_it(hami, kube):
    waits = {"spec": {"nodeName": None}, "status": {"phase": "Pending"}}
    kube.patch(kinds.PODS, "web", waits, "default")
    shown = plain(hami("status").output)
    assert "waiting for a share: default/web\n  hami explain web -n default" in shown
    kube.patch(kinds.PODS, "train", waits, "default")
    assert "waiting for a share: default/train and 1 more\n" in plain(hami("status").output)


def test_a_pod_that_has_its_node_waits_for_no_share(hami, kube):
    kube.patch(kinds.PODS, "web", {"spec": {"nodeName": "gpu-a"}, "status": {"phase": "Pending"}}, "default")
    assert "waiting" not in hami("status").output


def test_status_ends_with_1_when_a_node_serves_nobody(hami, kube):
    assert hami("status").exit_code == 0
    kube.delete(kinds.PODS, "driver-gpu-a", healthy.NAMESPACE)
    assert hami("status").exit_code == 1


def test_a_release_with_a_label_of_its_own_for_nodes_is_looked_at_by_that(hami, kube):
    """The chart's drivers.nvidia.daemonSet.nodeSelector."""
    plugin = healthy.workload("driver", "hami-dra-driver-kubelet-plugin", 2)
    plugin["spec"]["template"]["spec"]["nodeSelector"] = {"example.com/accelerator": "nvidia"}
    kube.replace(kinds.DAEMON_SETS, plugin, healthy.NAMESPACE)
    for name in healthy.NODES:
        labels = {"gpu": None, "example.com/accelerator": "nvidia"}
        kube.patch(kinds.NODES, name, {"metadata": {"labels": labels}})
    assert (hami("doctor").exit_code, hami("status").exit_code) == (0, 0)
    for name in healthy.NODES:
        kube.patch(kinds.NODES, name, {"metadata": {"labels": {"example.com/accelerator": None}}})
        kube.delete(kinds.RESOURCE_SLICES, f"{name}-{DRIVER}-1")
    command = "kubectl label node NODE example.com/accelerator=nvidia"
    assert command in plain(hami("status", columns=160).output)
    kube.patch(kinds.PODS, "train", {"status": {"phase": "Pending"}}, "default")
    assert command in plain(hami("explain", "train", columns=160).output)
    found = {each["id"]: each for each in json.loads(hami("doctor", "-o", "json").output)}["gpu-label"]
    assert (found["severity"], found["remedy"]) == ("error", command)


def test_a_plugin_without_node_labels_is_looked_for_where_it_runs(hami, kube):
    """The chart's nodeSelector={gpu: null}: every node, or those of an affinity."""
    plugin = healthy.workload("driver", "hami-dra-driver-kubelet-plugin", 2)
    del plugin["spec"]["template"]["spec"]["nodeSelector"]
    kube.replace(kinds.DAEMON_SETS, plugin, healthy.NAMESPACE)
    for name in healthy.NODES:
        kube.patch(kinds.NODES, name, {"metadata": {"labels": {"gpu": None}}})
    assert (hami("doctor").exit_code, hami("status").exit_code) == (0, 0)
    for name in healthy.NODES:
        kube.delete(kinds.PODS, f"driver-{name}", healthy.NAMESPACE)
        kube.delete(kinds.RESOURCE_SLICES, f"{name}-{DRIVER}-1")
    kube.patch(kinds.PODS, "train", {"status": {"phase": "Pending"}}, "default")
    for command in (("status",), ("explain", "train"), ("doctor",)):
        assert "labelled" not in plain(hami(*command, columns=160).output)
    assert "The plugin runs on no node" in plain(hami("status", columns=160).output)
    found = {each["id"]: each for each in json.loads(hami("doctor", "-o", "json").output)}["gpu-label"]
    assert (found["severity"], found["found"]) == ("error", "the plugin runs on no node")


def test_a_webhook_without_replicas_is_wrong(hami, kube):
    name = "hami-hami-dra-webhook"
    kube.patch(
        kinds.DEPLOYMENTS, name, {"spec": {"replicas": 0}, "status": {"readyReplicas": 0}}, healthy.NAMESPACE
    )
    assert hami("status").exit_code == 1
    found = {each["id"]: each for each in json.loads(hami("doctor", "-o", "json").output)}["webhook"]
    assert (found["severity"], found["found"]) == ("error", "scaled to no replica")
    assert found["remedy"] == f"kubectl -n {healthy.NAMESPACE} scale deployment {name} --replicas=1"


@pytest.mark.parametrize("output", ["json", "table"])
def test_top_shows_the_compute_between_two_looks(hami, used, monkeypatch, output):
    """Half a second of device time in two seconds."""
    seconds, clock = iter((1.0, 1.5)), iter((10.0, 12.0))
    served = dict(used.texts)

    class Growing(dict):
        def get(self, path, default=None):
            if path == METRICS.format(node="gpu-a"):
                return metrics("gpu-a", compute_s=next(seconds))
            return served.get(path, default)

    monkeypatch.setattr(used, "texts", Growing(served))
    monkeypatch.setattr("hami_dra.ops.usage.time", SimpleNamespace(monotonic=lambda: next(clock)))
    done = hami("top", "--once", "--interval", "0.1", "-o", output)
    if output == "table":
        row = next(line for line in done.output.splitlines() if "gpu-a" in line)
        assert "25%/50%" in row, row
        return
    first = next(share for share in json.loads(done.output)["shares"] if share["node"] == "gpu-a")
    assert first["utilization"] == 0.25
    assert (first["card"], first["memory"], first["processes"]) == ("4", 8 * 1024**3, 3)


def test_top_sorts_and_keeps_to_a_namespace(hami, used):
    used.texts[METRICS.format(node="gpu-b")] = metrics("gpu-b", used=9 * 1024**3)
    looked = ("top", "--once", "--interval", "0.1", "-o", "json")
    shares = json.loads(hami(*looked, "--sort", "memory").output)["shares"]
    assert [share["node"] for share in shares] == ["gpu-b", "gpu-a"]
    assert json.loads(hami(*looked, "-n", "team-b").output)["shares"] == []


def test_top_keeps_to_a_namespace_from_its_first_picture_on(hami, used, monkeypatch):
    pictures = []
    terminal = SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("hami_dra.cli.top.sys", terminal)
    monkeypatch.setattr("hami_dra.cli.top._live", lambda first, *_: pictures.append(first.shares))
    for namespace in ("team-a", "team-b"):
        hami("top", "-n", namespace)
    assert list(map(len, pictures)) == [len(healthy.NODES), 0]


def test_top_tells_which_node_is_silent(hami, used):
    del used.texts[METRICS.format(node="gpu-b")]
    done = hami("top", "--once", "--interval", "0.1")
    assert done.exit_code == 1
    assert "gpu-b does not tell" in done.output
    assert "gpu-a" in done.output


def test_of_two_plugins_of_a_node_during_an_update_one_that_answers_is_enough(hami, used):
    newer = healthy.our_pod("driver", "gpu-a")
    newer["metadata"]["name"] = "newer"
    used.create(kinds.PODS, newer, healthy.NAMESPACE)
    looked = ("top", "--once", "--interval", "0.1", "-o", "json")
    assert json.loads(hami(*looked).output)["silent"] == {}
    used.texts[METRICS.format(node="gpu-a").replace("driver-gpu-a", "newer")] = metrics("gpu-a")
    shares = json.loads(hami(*looked).output)["shares"]
    assert sorted(share["node"] for share in shares) == ["gpu-a", "gpu-b"]


def test_verify_wants_every_promise_kept_and_admission_that_converts(hami, kube, monkeypatch):
    done = hami("verify")
    assert done.exit_code == 1
    assert "✗ admission" in plain(done.output)

    def admitting(kind, body, namespace=None, *, dry_run=False):
        assert dry_run, "verify creates nothing"
        return body | {"spec": body["spec"] | {"resourceClaims": [{"name": "gpu"}]}}

    monkeypatch.setattr(kube, "create", admitting)
    assert hami("verify").exit_code == 0
    kube.delete(kinds.RESOURCE_SLICES, f"gpu-a-{DRIVER}-1")
    assert "slices" in [
        each["promise"] for each in json.loads(hami("verify", "-o", "json").output) if each["problem"]
    ]


def test_on_a_narrow_terminal_a_promise_that_is_kept_takes_one_line(hami):
    shown = plain(hami("verify", columns=40).output).splitlines()
    assert "" not in shown
    assert "✓ shared-devices" in shown


def test_verify_asks_for_what_the_webhook_converts(hami, kube, monkeypatch):
    """Renamed resources, or a release without NVIDIA's driver."""
    amd = Settings(families=of_profiles(families.profiles(["amd"])[0]))
    monkeypatch.setattr(installed, "webhook", lambda client: installed.Installed(amd, ()))
    asked = []

    def admitting(kind, body, namespace=None, *, dry_run=False):
        asked.append(body["spec"]["containers"][0]["resources"]["limits"])
        return body | {"spec": body["spec"] | {"resourceClaims": [{"name": "gpu"}]}}

    monkeypatch.setattr(kube, "create", admitting)
    assert hami("verify").exit_code == 0
    assert asked == [{"amd.com/gpu": "1"}]


def test_in_use_names_the_claims_that_pods_hold(hami, kube):
    done = hami("in-use")
    assert done.exit_code == 1
    assert "default/default-train-c" in done.output
    kube.delete(kinds.RESOURCE_CLAIMS, "default-train-c", "default")
    assert hami("in-use").exit_code == 0
