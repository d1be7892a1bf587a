"""What somebody with rights in one namespace alone cannot do to all others."""

import json

from hami_dra.kube import kinds
from tests.control_plane.conftest import hami, pod
from tests.support import webhook_process


def test_parameters_that_are_nested_without_end_hide_no_other_claim(plane, space, tmp_path):
    """The API server stores any JSON of 10 KiB as a driver's parameters, and every list has it."""
    request = {"name": "x", "exactly": {"deviceClassName": "other.example.com"}}
    opaque = {"driver": "other.example.com", "parameters": {"x": "DEEP"}}
    claim = {
        "apiVersion": kinds.RESOURCE_CLAIMS.api_version,
        "kind": kinds.RESOURCE_CLAIMS.kind,
        "metadata": {"name": "deep"},
        "spec": {"devices": {"requests": [request], "config": [{"opaque": opaque}]}},
    }
    body = json.dumps(claim).replace('"DEEP"', "[" * 4000 + "]" * 4000)
    plane.transport.ask("POST", kinds.RESOURCE_CLAIMS.path(space.name), 30, body=body)
    space.create(kinds.PODS, pod({"gpumem": 512}))
    space.allocated()
    assert {item["metadata"]["name"] for item in space.claims()} == {"deep", f"{space.name}-train-cuda"}
    shown = hami(plane, "status")
    assert (shown.returncode, shown.stderr) == (1, ""), "there is no plugin here"
    # A webhook is ready when it has read every claim of the cluster.
    with webhook_process.running(tmp_path, plane.kubeconfig):
        assert "Recursion" not in (tmp_path / "webhook.log").read_text()


def test_an_annotation_that_is_nested_without_end_is_taken_for_none(space):
    deep = {"hami.io/claims": "[" * 4000, "hami.io/resources": '{"a":' * 4000}
    space.try_pod(pod({"gpumem": 512}, annotations=deep), dry_run=False)
    space.allocated()
