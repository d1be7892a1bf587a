"""Every kind of workload in compatibility mode: its Pods run in shares of their own (simulated GPUs).

What each controller does to claims in every order of events is asked in tests/control_plane; here containers
start and look at what they got.
"""

from tests.cluster import product
from tests.e2e.kubectl import gpu_limits, pod
from tests.support.waiting import until

MEMORY_MIB = 1024
SEEN = f"{MEMORY_MIB}MiB"
LOOK = ["sh", "-c", "nvidia-smi"]


def template(app, command=None, **spec):
    made = pod("x", limits=gpu_limits(MEMORY_MIB, 10))
    if command:
        made["spec"]["containers"][0]["command"] = command
    return {"metadata": {"labels": {"app": app}}, "spec": made["spec"] | spec}


def controller(kind, of_pods=None, **spec):
    app = kind.lower()
    spec |= {"selector": {"matchLabels": {"app": app}}, "template": template(app, **(of_pods or {}))}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": app}, "spec": spec}


def running(namespace, count):
    found = namespace.list("pods", "--field-selector=status.phase=Running")
    return found if len(found) == count else None


def test_pods_of_every_controller_run_in_shares_of_their_own(namespace):
    namespace.apply(
        controller("Deployment", replicas=2),
        controller("StatefulSet", replicas=2, serviceName="web"),
        controller("DaemonSet", {"nodeSelector": {"gpu": "on"}}),
    )
    pods = until(lambda: running(namespace, 6), "6 running Pods")
    owners = {item["metadata"]["ownerReferences"][0]["uid"] for item in namespace.list("resourceclaims")}
    assert owners == {item["metadata"]["uid"] for item in pods}
    for item in pods:
        _, table = namespace.run_in(item["metadata"]["name"], "nvidia-smi")
        assert SEEN in table


def test_pods_of_a_job_compute_in_shares_and_give_them_back(namespace):
    spec = {"template": template("train", LOOK, restartPolicy="Never"), "backoffLimit": 0}
    spec |= {"completions": 2, "parallelism": 2}
    namespace.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"}, "spec": spec})
    namespace("wait", "--for=condition=Complete", "job/train", "--timeout=90s")
    for item in namespace.list("pods"):
        assert SEEN in namespace("logs", item["metadata"]["name"])

    def nothing_is_held():
        return not any(item.get("status", {}).get("allocation") for item in namespace.list("resourceclaims"))

    until(nothing_is_held, "the shares to be given back")


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
