"""The webhook must never be in the way of Pods that are none of its business."""

import contextlib

from tests.cluster.progress import StepFailed
from tests.e2e.kubectl import Kubectl, gpu_limits, pod
from tests.support.waiting import until

WEBHOOK = "deployment/hami-hami-dra-webhook"


@contextlib.contextmanager
def webhook_scaled_to_zero(cluster):
    system = Kubectl(cluster, "hami-system")
    replicas = system.get("deployment", "hami-hami-dra-webhook")["spec"]["replicas"]
    system("scale", WEBHOOK, "--replicas=0")
    try:
        until(lambda: not system.list("pods", "-l", "app.kubernetes.io/component=webhook"), "no webhook Pod")
        yield
    finally:
        system("scale", WEBHOOK, f"--replicas={replicas}")
        system("rollout", "status", WEBHOOK, "--timeout=120s")
        # Its Pods are ready sooner than every node's proxy leads to them.
        until(lambda: admitted(Kubectl(cluster)), "the API server to reach it")


def admitted(kubectl):
    """Whether a Pod with a share would be made."""
    try:
        kubectl.apply(pod("probe", limits=gpu_limits()), dry_run=True)
    except StepFailed:
        return False
    return True


def test_a_pod_without_our_resources_starts_while_the_webhook_is_away(cluster, namespace):
    with webhook_scaled_to_zero(cluster):
        namespace.apply(pod("bystander"))
        namespace.wait_running("bystander")
        refused = namespace.refusal(pod("user", limits=gpu_limits()))
    assert "hami-dra-webhook" in refused


def test_claims_made_while_the_webhook_is_back_are_served_at_once(namespace):
    namespace.apply(pod("user", limits=gpu_limits(memory_mib=1024, cores=10)))
    namespace.wait_running("user")
