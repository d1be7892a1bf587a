"""Every kind of workload in compatibility mode: its Pods run in shares of their own (simulated GPUs).

What each controller does to claims in every order of events is asked in tests/control_plane; here containers
start and look at what they got.
"""

import json

import pytest

from tests.cluster import product
from tests.e2e.kubectl import eventually, gpu_limits, pod

MEMORY_MIB = 1024
SEEN = f"{MEMORY_MIB}MiB"
LOOK = ["sh", "-c", "nvidia-smi"]


def template(command=None, **spec):
    made = pod("x", limits=gpu_limits(MEMORY_MIB, 10))
    if command:
        made["spec"]["containers"][0]["command"] = command
    return {"metadata": {"labels": {"app": "x"}}, "spec": made["spec"] | spec}


def controller(kind, name, **spec):
    body = {"selector": {"matchLabels": {"app": "x"}}, "template": template(), **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": body}


def job(name, **spec):
    body = {"template": template(LOOK, restartPolicy="Never"), "backoffLimit": 0, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": body}


def running(namespace, count):
    found = namespace.list("pods", "--field-selector=status.phase=Running")
    return found if len(found) == count else None


def each_has_its_own_claim(namespace, pods):
    owners = {item["metadata"]["ownerReferences"][0]["uid"] for item in namespace.list("resourceclaims")}
    return owners == {item["metadata"]["uid"] for item in pods}


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (controller("Deployment", "web", replicas=2), 2),
        (controller("StatefulSet", "web", replicas=2, serviceName="web"), 2),
        (controller("DaemonSet", "web", template=template(nodeSelector={"gpu": "on"})), 2),
    ],
    ids=["Deployment", "StatefulSet", "DaemonSet"],
)
def test_pods_of_a_controller_run_in_shares_of_their_own(namespace, body, count):
    namespace.apply(body)
    pods = eventually(lambda: running(namespace, count), f"{count} running Pods")
    assert each_has_its_own_claim(namespace, pods)
    for item in pods:
        _, table = namespace.run_in(item["metadata"]["name"], "nvidia-smi")
        assert SEEN in table


@pytest.mark.parametrize(
    "body",
    [
        job("train", completions=2, parallelism=2),
        job("train", completions=2, parallelism=2, completionMode="Indexed"),
    ],
    ids=["Job", "indexed Job"],
)
def test_pods_of_a_job_compute_in_shares_and_give_them_back(namespace, body):
    namespace.apply(body)
    namespace("wait", "--for=condition=Complete", "job/train", "--timeout=90s")
    for item in namespace.list("pods"):
        assert SEEN in namespace("logs", item["metadata"]["name"])
    eventually(lambda: nothing_is_held(namespace), "the shares to be given back")


def test_a_cron_jobs_pod_computes_in_a_share(namespace):
    nightly = {"schedule": "0 3 * * *", "jobTemplate": {"spec": job("x")["spec"]}}
    namespace.apply(
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": nightly}
    )
    namespace("create", "job", "now", "--from=cronjob/nightly")
    namespace("wait", "--for=condition=Complete", "job/now", "--timeout=90s")
    (ran,) = namespace.list("pods")
    assert SEEN in namespace("logs", ran["metadata"]["name"])


def test_a_job_that_a_queue_holds_back_starts_when_it_is_resumed(namespace):
    """As Kueue and Volcano do it: created suspended, resumed by a patch."""
    namespace.apply(job("queued", suspend=True))
    eventually(lambda: namespace.get("job", "queued").get("status", {}).get("conditions"), "suspension")
    assert namespace.list("pods") == []
    assert namespace.list("resourceclaims") == []
    namespace("patch", "job", "queued", "--type=merge", "-p", json.dumps({"spec": {"suspend": False}}))
    namespace("wait", "--for=condition=Complete", "job/queued", "--timeout=90s")


def test_an_init_container_computes_in_the_share_of_the_main_container_before_it(namespace):
    made = pod("both", limits=gpu_limits(2 * MEMORY_MIB, 10))
    before = {
        "name": "prepare",
        "image": product.WORKLOAD,
        "imagePullPolicy": "Never",
        "command": LOOK,
        "resources": {"limits": gpu_limits(MEMORY_MIB, 10)},
    }
    made["spec"]["initContainers"] = [before]
    namespace.apply(made)
    namespace.wait_running("both")
    (claim,) = namespace.list("resourceclaims")
    assert len(claim["status"]["allocation"]["devices"]["results"]) == 1
    assert f"{2 * MEMORY_MIB}MiB" in namespace("logs", "both", "-c", "prepare")
    _, table = namespace.run_in("both", "nvidia-smi")
    assert f"{2 * MEMORY_MIB}MiB" in table


def test_a_sidecar_and_the_main_container_see_a_share_each(namespace):
    made = pod("both", limits=gpu_limits(2 * MEMORY_MIB, 10))
    side = made["spec"]["containers"][0] | {"name": "side", "restartPolicy": "Always"}
    side["resources"] = {"limits": gpu_limits(MEMORY_MIB, 10)}
    made["spec"]["initContainers"] = [side]
    namespace.apply(made)
    namespace.wait_running("both")
    assert len(namespace.list("resourceclaims")) == 2
    for container, memory in (("side", MEMORY_MIB), ("cuda", 2 * MEMORY_MIB)):
        assert f"{memory}MiB" in namespace("exec", "both", "-c", container, "--", "nvidia-smi")


def nothing_is_held(namespace):
    claims = namespace.list("resourceclaims")
    return not any(item.get("status", {}).get("allocation") for item in claims)
