"""Other ways to be registered, and what becomes of Pods when nobody answers."""

import json
import os
import signal

import pytest
import yaml

from hami_dra.kube import kinds
from hami_dra.model import errors
from tests.charts.conftest import INSTALL_LINE, helm
from tests.cluster import versions
from tests.control_plane.conftest import hami, owners, pod, registered, results
from tests.support import webhook_process
from tests.support.waiting import until

SHARE = {"gpumem": 512}
TRADITIONAL = {
    "metadata": {"name": "hami-webhook"},
    "webhooks": [
        {
            "name": "vgpu.hami.io",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "clientConfig": {"url": "https://localhost:1/webhook"},
            "rules": [],
        }
    ],
}


def test_a_webhook_that_was_killed_finishes_its_work_when_it_is_back(fresh, tmp_path):
    """SIGKILL between a Pod and its claim; all the while Pods that are none of its business are made."""
    plane = fresh.cluster.plane
    folder = tmp_path / "webhook"
    # Before the release was installed.
    fresh.create(kinds.PODS, pod(SHARE, name="early"))
    with webhook_process.running(folder, plane.kubeconfig) as webhook, registered(plane, webhook):
        source = pod(SHARE)
        without = pod({"gpu": 0})["spec"]["containers"][0] | {"name": "without"}
        source["spec"]["containers"].append(without)
        stored = fresh.create(kinds.PODS, source)
        os.kill(webhook.pid, signal.SIGKILL)
        with pytest.raises(errors.KubeError, match=r"failed calling webhook .pods\.hami\.io"):
            fresh.try_pod(pod(SHARE, name="other"), dry_run=False)
        fresh.create(kinds.PODS, pod(name="bystander"))
        for name in ("train", "early", "bystander"):
            change = {"metadata": {"labels": {"a": "b"}}}
            fresh.client.patch(kinds.PODS, name, change, fresh.name)
        native = {
            "metadata": {"name": "native"},
            "spec": {
                "devices": {
                    "requests": [
                        {"name": "gpu", "exactly": {"deviceClassName": "hami-core-gpu.project-hami.io"}}
                    ]
                }
            },
        }
        fresh.create(kinds.RESOURCE_CLAIMS, native)
        fresh.client.delete(kinds.RESOURCE_CLAIMS, "native", fresh.name)
        with webhook_process.running(tmp_path / "second", plane.kubeconfig):
            until(lambda: owners(fresh) == {stored["metadata"]["uid"]}, "the claim of the first Pod")
            fresh.allocated(1)


@pytest.mark.skipif(versions.DEFAULT_KUBERNETES < "1.36", reason="the gate DRAExtendedResource is alpha")
def test_plain_whole_cards_are_left_to_kubernetes_when_that_is_asked_for(fresh, tmp_path):
    plane = fresh.cluster.plane
    with (
        webhook_process.running(
            tmp_path / "webhook", plane.kubeconfig, "--extended-resource", "true"
        ) as webhook,
        registered(plane, webhook, "hami-dra.webhook.extendedResource=true"),
    ):
        plain = fresh.create(kinds.PODS, pod({"gpu": 2}, name="plain"))
        assert plain["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "2"}
        (claim,) = fresh.allocated(1)
        assert claim["metadata"]["annotations"]["resource.kubernetes.io/extended-resource-claim"] == "true"
        devices = {(result["pool"], result["device"]) for result in results(claim)}
        assert len(devices) == 2
        assert "hami.io/dra" not in plain["metadata"].get("labels", {})
        chosen = {"nvidia.com/use-gputype": "a100"}
        for name, limits, annotations in (("share", SHARE, None), ("chosen", {"gpu": 1}, chosen)):
            stored = fresh.create(kinds.PODS, pod(limits, name=name, annotations=annotations))
            assert stored["spec"]["resourceClaims"], name
        copied = fresh.client.get(kinds.PODS, "share", fresh.name)
        copied["metadata"] = {"name": "copy", "annotations": copied["metadata"]["annotations"]}
        copied["spec"].pop("nodeName", None)
        copied["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/gpu": "1"}
        (entry,) = fresh.create(kinds.PODS, copied)["spec"]["resourceClaims"]
        assert entry["resourceClaimName"] == f"{fresh.name}-copy-cuda", "the first Pod's claim is its own"


def test_resources_that_the_operator_has_renamed_are_converted_and_the_former_names_are_not(fresh, tmp_path):
    plane, name = fresh.cluster.plane, "example.com/memory"
    folder, renamed = tmp_path / "webhook", ("--resource-memory", name)
    with (
        webhook_process.running(folder, plane.kubeconfig, *renamed) as webhook,
        registered(plane, webhook, f"hami-dra.resourceMem={name}"),
    ):
        source = pod()
        source["spec"]["containers"][0]["resources"] = {"limits": {name: "1024"}}
        stored = fresh.create(kinds.PODS, source)
        (claim,) = fresh.allocated(1)
        assert results(claim)[0]["consumedCapacity"]["memory"] == "1Gi"
        assert name not in stored["spec"]["containers"][0]["resources"].get("limits", {})
        former = fresh.create(kinds.PODS, pod({"gpumem": 1024}, name="former"))
        assert "resourceClaims" not in former["spec"]
        shown = hami(plane, "convert", "--live", "-n", fresh.name, "-f", "-", stdin=json.dumps(source))
        converted, *_ = yaml.safe_load_all(shown.stdout)
        (entry,) = converted["spec"]["resourceClaims"]
        assert "resourceClaimTemplateName" in entry, "the name of its claim is taken by now"


def test_the_traditional_mode_beside_ours_is_refused_until_it_is_gone(fresh, tmp_path):
    plane = fresh.cluster.plane
    folder = tmp_path / "webhook"
    with webhook_process.running(folder, plane.kubeconfig) as webhook, registered(plane, webhook):
        fresh.client.create(kinds.MUTATING_WEBHOOKS, TRADITIONAL)

        def refused():
            try:
                fresh.create(kinds.PODS, pod(SHARE), dry_run=True)
            except errors.Denied as refusal:
                return str(refusal)
            return ""

        message = until(refused, "the refusal")
        assert "HAMi's traditional mode (MutatingWebhookConfiguration/hami-webhook)" in message
        fresh.client.delete(kinds.MUTATING_WEBHOOKS, "hami-webhook")
        until(lambda: not refused(), "to be served again")


def test_the_chart_is_not_installed_beside_the_traditional_mode(fresh):
    def installation():
        line = INSTALL_LINE.split()[1:]
        where = ["--kubeconfig", str(fresh.cluster.plane.kubeconfig), "--dry-run=server"]
        return helm.__wrapped__(*line, *where)

    fresh.client.create(kinds.MUTATING_WEBHOOKS, TRADITIONAL)
    refused = installation()
    assert refused.returncode != 0
    said = "HAMi's traditional mode is installed in this cluster (MutatingWebhookConfiguration hami-webhook)"
    assert said in refused.stderr
    fresh.client.delete(kinds.MUTATING_WEBHOOKS, "hami-webhook")
    accepted = installation()
    assert accepted.returncode == 0, accepted.stderr
