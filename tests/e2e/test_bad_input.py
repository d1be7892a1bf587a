"""Bad input is refused with what, where and how to fix, by the real API server."""

import pytest

from tests.e2e.kubectl import claim, eventually, gpu_limits, pod


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (gpu_limits(memory_mib=0), ["nvidia.com/gpumem", "cuda"]),
        (gpu_limits(memory_mib="500m"), ["nvidia.com/gpumem", "cuda"]),
        (gpu_limits(cores=101), ["nvidia.com/gpucores", "101", "100"]),
    ],
    ids=["no memory", "a fraction of a MiB", "more cores than a card has"],
)
def test_impossible_limits_are_denied_with_the_resource_and_the_container(namespace, limits, words):
    refused = namespace.refusal(pod("user", limits=limits))
    for word in words:
        assert word in refused
    assert namespace.list("pods") == []


@pytest.mark.parametrize("value", ["-1", "ten"])
def test_values_that_are_no_amounts_are_refused(namespace, value):
    refused = namespace.refusal(pod("user", limits=gpu_limits(memory_mib=value)))
    assert "nvidia.com/gpumem" in refused or "quantity" in refused.lower() or "quantities" in refused
    assert namespace.list("pods") == []


def test_a_claim_above_the_cards_memory_waits_with_the_schedulers_reason(namespace):
    namespace.apply(claim("too-much", memory="100Gi"), pod("user", claim="too-much"))
    eventually(lambda: "cannot allocate all claims" in namespace.events("user"), "the scheduler's reason", 60)
    assert namespace.get("pod", "user")["status"]["phase"] == "Pending"
    assert "allocation" not in namespace.get("resourceclaim", "too-much").get("status", {})
