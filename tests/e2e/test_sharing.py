"""Several Pods on one simulated card, and what is left when they are gone."""

from tests.e2e.kubectl import claim, on_node, pod
from tests.support.waiting import until


def test_two_halves_share_a_card_and_a_third_waits_until_one_goes(namespace, gpu_node):
    for name in ("one", "two", "three"):
        namespace.apply(claim(name), pod(name, claim=name, node=gpu_node))
        if name != "three":
            namespace.wait_running(name)
    until(lambda: "claim" in namespace.events("three"), "the scheduler's reason on the third Pod")
    assert namespace.get("pod", "three")["status"]["phase"] == "Pending"
    shares = {
        namespace.get("resourceclaim", name)["status"]["allocation"]["devices"]["results"][0]["shareID"]
        for name in ("one", "two")
    }
    assert len(shares) == 2
    assert shares <= set(on_node(gpu_node, "ls", "/var/lib/hami/shares").split())

    namespace.delete_pod("one")
    namespace.wait_running("three")


def test_what_one_pod_allocates_the_other_does_not_see(namespace, gpu_node):
    for name in ("one", "two"):
        namespace.apply(claim(name), pod(name, claim=name, node=gpu_node))
        namespace.wait_running(name)
    holder = "hami-fill --total 4Gi --hold 60 >/dev/null 2>&1 &"
    namespace("exec", "one", "--", "sh", "-c", holder)

    def used(name: str) -> int:
        _, answer = namespace.run_in(
            name, "nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"
        )
        return int(answer)

    until(lambda: used("one") >= 4096, "the holder's memory in its own share")
    assert used("two") == 0


def test_nothing_is_left_on_the_node_or_in_the_api(namespace, gpu_node):
    namespace.apply(claim("half"), pod("user", claim="half", node=gpu_node))
    namespace.wait_running("user")
    uid = namespace.get("resourceclaim", "half")["metadata"]["uid"]
    allocated = namespace.get("resourceclaim", "half")["status"]["allocation"]
    share = allocated["devices"]["results"][0]["shareID"]
    assert uid in on_node(gpu_node, "ls", "/var/run/cdi")

    namespace.delete_pod("user")
    namespace("delete", "resourceclaim", "half", "--timeout=60s")

    def leftovers() -> str:
        listing = on_node(
            gpu_node, "sh", "-c", "ls /var/run/cdi /var/lib/hami/shares; cat /var/lib/hami/checkpoint.json"
        )
        return "\n".join(line for line in listing.splitlines() if uid in line or share in line)

    until(lambda: not leftovers(), "the node to be clean")
    assert namespace.list("resourceclaims") == []
