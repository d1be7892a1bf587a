"""The monitor tells the same of what it keeps of an object as of the whole object."""

from hami_dra.model import names
from hami_dra.observe import allocation_metrics, lean
from hami_dra.observe.cluster import describe
from hami_dra.observe.waiting import Objects
from tests.unit.observe.test_allocation import claim, slice_of
from tests.unit.observe.test_cluster import asking, pod

BALLAST = {"managedFields": [{"manager": "x" * 1000}], "annotations": {"a": "b"}, "ownerReferences": []}


def heavy(item):
    return item | {"metadata": item["metadata"] | BALLAST}


def test_what_is_kept_is_all_that_is_told():
    held = claim("one", "two")
    held["status"]["allocation"]["devices"]["config"] = [{"opaque": {"parameters": {"x": "y" * 500}}}]
    said = {"reason": "Unschedulable", "message": "no room"}
    late = pod("late", claim_name="big", conditions=[said], labels={names.CONVERTED_LABEL: "true"})
    late["spec"]["containers"] = [{"image": "x" * 500}]
    stranded = pod("stranded")
    stranded["spec"] = {
        "containers": [{"env": ["x"] * 500, "resources": {"limits": {"nvidia.com/gpu": "1"}}}]
    }
    node = {"metadata": {"name": "a", "labels": {"gpu": "on"}}, "status": {"images": ["x" * 500]}}
    whole = Objects(
        [heavy(late), heavy(stranded)],
        [heavy(held), heavy(asking("big"))],
        [slice_of("a")],
        [heavy(node)],
        [{"metadata": {"name": names.DRIVER}}],
        names.NVIDIA_RESOURCES,
    )
    kept = Objects(
        [lean.pod(item) for item in whole.pods],
        [lean.claim(item) for item in whole.claims],
        whole.slices,
        [lean.node(item) for item in whole.nodes],
        whole.classes,
        whole.resources,
    )
    assert describe(kept) == describe(whole)
    assert "late" in "".join(allocation_metrics.text(describe(kept), {}, legacy=True))
    assert "NotConverted" in "".join(allocation_metrics.text(describe(kept), {}, legacy=True))
    assert len(str(kept)) < len(str(whole)) / 2
