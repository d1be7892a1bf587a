"""Who uses a share: what an upgrade must keep and a removal must not pull away."""

from tests.ansible.loading import plugin

shares = plugin("filter/shares.py")
DRIVER = "hami-core-gpu.project-hami.io"


def claim(name, driver=DRIVER, users=("pod-1",)):
    allocation = {"devices": {"results": [{"driver": driver, "request": "gpu"}]}}
    status = {"allocation": allocation, "reservedFor": [{"uid": uid} for uid in users]} if driver else {}
    return {"metadata": {"namespace": "team", "name": name}, "status": status}


def pod(uid, restarts=0):
    status = {"containerStatuses": [{"restartCount": restarts}]}
    return {"metadata": {"namespace": "team", "name": uid, "uid": uid}, "status": status}


def test_a_pod_counts_when_a_claim_of_any_family_of_ours_is_reserved_for_it():
    pods = [pod("pod-1", restarts=2), pod("pod-2"), pod("pod-3")]
    claims = [
        claim("a"),
        claim("b", "other.example.com", ["pod-2"]),
        claim("c", "amd.project-hami.io", ["pod-3"]),
    ]
    assert shares.sharing_pods(pods, claims) == [
        {"name": "team/pod-1", "uid": "pod-1", "restarts": 2},
        {"name": "team/pod-3", "uid": "pod-3", "restarts": 0},
    ]


def test_a_restart_or_another_uid_is_a_difference():
    (before,) = shares.sharing_pods([pod("pod-1")], [claim("a")])
    (after,) = shares.sharing_pods([pod("pod-1", restarts=1)], [claim("a")])
    assert before != after


def test_claims_that_nobody_holds_or_others_drive_are_not_in_use():
    claims = [claim("used"), claim("free", users=()), claim("other", "x.example.com"), claim("waiting", "")]
    claims.append(claim("npu", "ascend.project-hami.io"))
    assert shares.claims_in_use(claims) == ["team/used", "team/npu"]
