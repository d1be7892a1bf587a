"""Several of everything: claims in a container, Pods of a claim, shares of a card, init containers."""

from __future__ import annotations

from tests.e2e.kubectl import Kubectl, Object, claim, pod

SHARES = "/run/hami/shares"


def shares_in(kubectl: Kubectl, name: str, container: str = "cuda") -> set[str]:
    return set(kubectl("exec", name, "-c", container, "--", "ls", SHARES).split())


def share_of(kubectl: Kubectl, name: str) -> set[str]:
    results = kubectl.get("resourceclaim", name)["status"]["allocation"]["devices"]["results"]
    return {each["shareID"] for each in results}


def with_claims(name: str, node: str, *claims: str) -> Object:
    body = pod(name, claim=claims[0], node=node)
    spec = body["spec"]
    spec["resourceClaims"] = [{"name": each, "resourceClaimName": each} for each in claims]
    spec["containers"][0]["resources"]["claims"] = [{"name": each} for each in claims]
    return body


def test_two_claims_in_one_container_are_two_shares_of_its_card(namespace: Kubectl, gpu_node: str) -> None:
    namespace.apply(claim("one", "1Gi", None), claim("two", "2Gi", None))
    namespace.apply(with_claims("user", gpu_node, "one", "two"))
    namespace.wait_running("user")
    assert shares_in(namespace, "user") == share_of(namespace, "one") | share_of(namespace, "two")
    code, table = namespace.run_in("user", "nvidia-smi")
    assert (code, "3072MiB" in table) == (0, True), table


def test_one_claim_of_two_pods_is_one_share(namespace: Kubectl, gpu_node: str) -> None:
    namespace.apply(claim("shared", "1Gi", None))
    for name in ("first", "second"):
        namespace.apply(pod(name, claim="shared", node=gpu_node))
        namespace.wait_running(name)
    assert shares_in(namespace, "first") == shares_in(namespace, "second") == share_of(namespace, "shared")
    namespace.delete_pod("first")
    assert shares_in(namespace, "second") == share_of(namespace, "shared")


def test_one_claim_of_two_containers_is_one_share(namespace: Kubectl, gpu_node: str) -> None:
    namespace.apply(claim("half", "1Gi", None))
    body = pod("user", claim="half", node=gpu_node)
    (main,) = body["spec"]["containers"]
    body["spec"]["containers"].append(main | {"name": "beside"})
    namespace.apply(body)
    namespace.wait_running("user")
    for container in ("cuda", "beside"):
        assert shares_in(namespace, "user", container) == share_of(namespace, "half")


def test_an_init_container_has_the_share_before_the_main_container(namespace: Kubectl, gpu_node: str) -> None:
    namespace.apply(claim("half", "1Gi", None))
    body = pod("user", claim="half", node=gpu_node)
    main = body["spec"]["containers"][0]
    body["spec"]["initContainers"] = [main | {"name": "init", "command": ["ls", SHARES]}]
    namespace.apply(body)
    namespace.wait_running("user")
    assert set(namespace("logs", "user", "-c", "init").split()) == share_of(namespace, "half")
    assert shares_in(namespace, "user") == share_of(namespace, "half")
