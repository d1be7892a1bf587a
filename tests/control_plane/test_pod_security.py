"""Pod Security in the namespaces of users: what a level allows is allowed with a share, too."""

import json

import pytest

from hami_dra.kube.kinds import NAMESPACES
from tests.control_plane.conftest import hami, pod

ENFORCE = "pod-security.kubernetes.io/enforce"
CONFINED = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
}


def confined(**of_pod):
    body = pod({"gpumem": 1024, "gpucores": 10}, **CONFINED, **of_pod)
    body["spec"]["containers"][0]["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    return body


def enforce(client, namespace, level):
    client.patch(NAMESPACES, namespace, {"metadata": {"labels": {ENFORCE: level}}})


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_what_a_level_allows_gets_its_share_and_what_it_forbids_is_refused(space, level):
    enforce(space.client, space.name, level)
    made = space.try_pod(confined(), dry_run=False)
    assert made["spec"]["resourceClaims"]
    space.allocated()
    with pytest.raises(Exception, match="violates PodSecurity"):
        space.try_pod(confined(hostNetwork=True))


def test_verify_may_try_a_pod_in_a_namespace_with_the_strictest_level(cluster):
    enforce(cluster.client, "default", "restricted")
    try:
        told = json.loads(hami(cluster.plane, "verify", "-o", "json").stdout)
    finally:
        enforce(cluster.client, "default", None)
    assert [each["problem"] for each in told if each["promise"] == "admission"] == [""]
