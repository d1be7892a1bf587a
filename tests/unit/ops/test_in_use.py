"""`helm uninstall` is refused while somebody holds a share."""

import pytest

from hami_dra.ops import in_use


def claim(name, driver="hami-core-gpu.project-hami.io", users=1):
    results = [{"driver": driver, "device": "hami-gpu-0"}]
    return {
        "metadata": {"namespace": "team", "name": name},
        "status": {"allocation": {"devices": {"results": results}}, "reservedFor": [{"uid": "u"}] * users},
    }


@pytest.mark.parametrize(
    "free",
    [
        [],
        [{"metadata": {"namespace": "team", "name": "waiting"}}],
        [claim("nobody", users=0)],
        [claim("other", driver="gpu.nvidia.com")],
    ],
)
def test_a_release_may_go_when_nobody_holds_a_share_of_ours(free):
    assert in_use.refusal(free) == ""


def test_the_refusal_names_claims_and_the_remedy_in_one_line():
    said = in_use.refusal([claim(f"c{number}") for number in range(5)])
    assert said.startswith("claims are in use: team/c0, team/c1, team/c2 and 2 more; ")
    assert said.endswith("or uninstall with --no-hooks")
    assert "\n" not in said


def test_another_family_of_ours_counts():
    assert in_use.claims([claim("a", driver="hami-ascend.project-hami.io")]) == ["team/a"]
