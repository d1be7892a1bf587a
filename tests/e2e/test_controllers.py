"""Workload controllers in compatibility mode: a claim for each Pod, gone with it (simulated GPUs)."""

from tests.e2e.kubectl import eventually, gpu_limits, pod


def deployment(name: str, replicas: int, limits: dict) -> dict:
    template = pod(name, limits=limits)
    template["metadata"] = {"labels": {"app": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {key: template[key] for key in ("metadata", "spec")},
        },
    }


def test_three_replicas_get_three_claims_that_vanish_with_the_deployment(namespace):
    namespace.apply(deployment("trainer", 3, gpu_limits(memory_mib=2048, cores=20)))
    namespace("rollout", "status", "deployment/trainer", "--timeout=120s")
    claims = namespace.list("resourceclaims")
    owners = {item["metadata"]["ownerReferences"][0]["uid"] for item in claims}
    pods = {item["metadata"]["uid"] for item in namespace.list("pods")}
    assert len(claims) == 3
    assert owners == pods

    namespace("delete", "deployment", "trainer", "--cascade=foreground", "--timeout=90s")
    eventually(lambda: namespace.list("resourceclaims") == [], "the claims to go with their Pods")


def test_a_rollout_restart_replaces_every_pod_and_claim(namespace):
    namespace.apply(deployment("server", 2, gpu_limits(memory_mib=2048, cores=20)))
    namespace("rollout", "status", "deployment/server", "--timeout=120s")
    before = {item["metadata"]["uid"] for item in namespace.list("resourceclaims")}

    namespace("rollout", "restart", "deployment/server")
    namespace("rollout", "status", "deployment/server", "--timeout=120s")

    def replaced() -> bool:
        now = {item["metadata"]["uid"] for item in namespace.list("resourceclaims")}
        return len(now) == 2 and not now & before

    eventually(replaced, "two new claims in place of the old")
    name = namespace.list("pods", "-l", "app=server", "--field-selector=status.phase=Running")[0]["metadata"][
        "name"
    ]
    _, table = namespace.run_in(name, "nvidia-smi")
    assert "2048MiB" in table
