"""`kubectl apply` of a manifest once more: the API server holds the converted Pod, the manifest asks anew."""

import copy
import json
import subprocess

import pytest
import yaml

from hami_dra.kube import kinds
from hami_dra.model import quantity
from tests.cluster import demo, node_image
from tests.control_plane.conftest import pod, uids
from tests.support.waiting import until

SERVER_SIDE = ("apply", "--server-side")


@pytest.fixture
def kubectl(space, tmp_path):
    """kubectl as the administrator in the test's namespace; with FAILS what it says instead of doing it.

    MEANWHILE: what is done while it works.
    """
    program = node_image.tools() / "usr/bin/kubectl"
    command = [program, "--kubeconfig", space.cluster.plane.kubeconfig, "--namespace", space.name]

    def run(*arguments, manifest, fails=False, meanwhile=lambda: None):
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps(manifest))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([*command, *arguments, "-f", path], **pipes) as process:
            try:
                meanwhile()
                said, complained = process.communicate(timeout=120)
            finally:
                process.kill()
        assert (process.returncode != 0) is fails, said + complained
        return complained if fails else said

    return run


def manifest(limits=None, **more):
    """Everything that a conversion touches: several containers, other resources, a scheduler by name."""
    found = pod(limits or {"gpu": 1, "gpumem": 512, "cpu": "1"}, **more)
    found["metadata"]["labels"] = {"app": "train"}
    side = pod({"gpumem": 256, "gpucores": 10})["spec"]["containers"][0] | {"name": "side"}
    plain = {"name": "plain", "image": "x", "resources": {"limits": {"memory": "1Gi"}}}
    before = pod({"gpumem": 128})["spec"]["containers"][0] | {"name": "before"}
    found["spec"]["containers"] += [side, plain]
    found["spec"] |= {"initContainers": [before], "schedulerName": "hami-scheduler"}
    return found


def own_claim(space, found):
    """FOUND with a claim of the user's own beside the shares."""
    request = {"name": "x", "exactly": {"deviceClassName": "other.example.com"}}
    claim = {"metadata": {"name": "mine"}, "spec": {"devices": {"requests": [request]}}}
    space.create(kinds.RESOURCE_CLAIMS, claim)
    found["spec"]["resourceClaims"] = [{"name": "mine", "resourceClaimName": "mine"}]
    found["spec"]["containers"][0]["resources"]["claims"] = [{"name": "mine"}]
    return found


def read(space):
    return space.client.get(kinds.PODS, "train", space.name)


def stored(space):
    found = read(space)
    return found["metadata"]["uid"], found["spec"]


@pytest.mark.parametrize("how", [("apply",), SERVER_SIDE], ids=" ".join)
@pytest.mark.parametrize("own", [False, True], ids=["shares alone", "and a claim of one's own"])
def test_a_manifest_that_is_applied_again_changes_nothing_and_shows_no_difference(space, kubectl, how, own):
    wanted = own_claim(space, manifest()) if own else manifest()
    kubectl(*how, manifest=wanted)
    before = stored(space)
    assert before[1]["resourceClaims"]
    for _ in range(2):
        kubectl(*how, manifest=wanted)
        # The scheduler may have bound it meanwhile.
        assert without_node(stored(space)) == without_node(before)
    assert kubectl("diff", *how[1:], manifest=wanted) == ""


def without_node(found):
    uid, spec = found
    return uid, {key: value for key, value in spec.items() if key not in ("nodeName", "tolerations")}


@pytest.mark.parametrize("name", ["native", "compatible"])
def test_the_guides_manifests_can_be_applied_again(space, kubectl, name):
    text = demo.guide_manifest(f"{name}.yaml")
    items = [item for item in yaml.safe_load_all(text) if item]
    both = {"apiVersion": "v1", "kind": "List", "items": items}
    (source,) = [item for item in items if item["kind"] == "Pod"]
    for how in (("apply",), ("apply",), (*SERVER_SIDE, "--force-conflicts")):
        kubectl(*how, manifest=both)
    found = space.client.get(kinds.PODS, source["metadata"]["name"], space.name)
    assert len(found["spec"]["resourceClaims"]) == 1
    space.allocated(1)


@pytest.mark.parametrize("first", ["create", "apply", "server-side"])
def test_a_pod_that_was_made_in_one_way_can_be_applied_in_the_other(space, kubectl, first):
    """The fields belong to the former way: to kubectl the resources that were taken out are a conflict."""
    ways = {"create": ("create",), "apply": ("apply",), "server-side": SERVER_SIDE}
    kubectl(*ways[first], manifest=manifest())
    before = stored(space)
    kubectl("apply", manifest=manifest())
    kubectl(*SERVER_SIDE, "--force-conflicts", manifest=manifest())
    assert without_node(stored(space)) == without_node(before)


@pytest.mark.parametrize("how", [("apply",), SERVER_SIDE], ids=" ".join)
def test_what_may_be_changed_in_a_pod_is_changed_by_its_manifest(space, kubectl, how):
    kubectl(*how, manifest=manifest())
    changed = manifest()
    changed["metadata"]["labels"]["app"] = "other"
    changed["spec"]["containers"][0]["image"] = "y"
    kubectl(*how, manifest=changed)
    found = read(space)
    assert found["metadata"]["labels"]["app"] == "other"
    assert found["spec"]["containers"][0]["image"] == "y"
    assert found["metadata"]["labels"]["hami.io/dra"] == "true"


@pytest.mark.parametrize("how", [("apply",), SERVER_SIDE], ids=" ".join)
def test_other_amounts_are_refused_in_words_and_a_forced_replacement_gets_them(space, kubectl, how):
    kubectl(*how, manifest=pod({"gpumem": 512}))
    (former,) = space.allocated(1)
    larger = pod({"gpumem": 1024})
    said = kubectl(*how, manifest=larger, fails=True)
    assert "asks for nvidia.com/gpumem 1024, and the Pod was made with nvidia.com/gpumem 512" in said
    assert "kubectl replace --force" in said

    def as_kubelet():
        until(lambda: "deletionTimestamp" in read(space)["metadata"], "the end of the former")
        space.delete_pod("train")

    kubectl("replace", "--force", manifest=larger, meanwhile=as_kubelet)

    def replaced():
        found = [item for item in space.claims() if item["metadata"]["uid"] != former["metadata"]["uid"]]
        return found if len(found) == len(space.claims()) == len(uids(space)) == 1 else None

    (claim,) = until(replaced, "a claim of the new Pod alone")
    (request,) = claim["spec"]["devices"]["requests"]
    assert quantity.parse_int(request["exactly"]["capacity"]["requests"]["memory"]) == 1024**3


def test_a_share_that_an_update_asks_for_is_refused_when_the_container_has_none(space, kubectl):
    kubectl("apply", manifest=manifest())
    changed = copy.deepcopy(manifest())
    changed["spec"]["containers"][2]["resources"]["limits"]["nvidia.com/gpu"] = "1"
    said = kubectl("apply", manifest=changed, fails=True)
    assert (
        "spec.containers[plain]: it asks for nvidia.com/gpu 1: the share of a Pod is fixed when it is made"
        in said
    )


@pytest.mark.parametrize("how", [("create",), SERVER_SIDE], ids=" ".join)
@pytest.mark.parametrize("named", ["train", "second"])
def test_a_copied_manifest_that_was_edited_gets_what_it_asks_for(space, kubectl, how, named):
    """As `kubectl get -o yaml` prints it; a copy of the same name is made when the first Pod is gone."""
    kubectl("create", manifest=manifest())
    copied = read(space)
    for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        copied["metadata"].pop(key, None)
    copied["metadata"]["name"] = named
    copied["spec"].pop("nodeName", None)
    copied["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpumem"] = "300"
    if named == "train":
        space.delete_pod("train")
    kubectl(*how, manifest=copied)
    annotations = space.client.get(kinds.PODS, named, space.name)["metadata"]["annotations"]
    asked = json.loads(annotations["hami.io/resources"])
    assert asked["cuda"] == {"nvidia.com/gpumem": 300}
    assert asked["side"] == {"nvidia.com/gpumem": 256, "nvidia.com/gpucores": 10}
