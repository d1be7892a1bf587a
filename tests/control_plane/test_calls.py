"""What a Pod costs the API server: every call of the webhook is recorded, on the real one."""

import contextlib
import re

from hami_dra.kube import kinds
from tests.control_plane.conftest import owners, pod, registered, uids
from tests.control_plane.test_ownership import workload
from tests.support import webhook_process
from tests.support.waiting import until

RECORDING = r"""
import os
from hami_dra.admission import controller
from hami_dra.cli.main import main
from hami_dra.kube.transport import Transport
controller.OTHERS_FIRST_S = 60.0
ask = Transport.ask
def recorded(self, method, path, *more, **named):
    os.write(1, f"\nCALL {method} {path}\n".encode())  # at once, and not behind half a line of the log
    return ask(self, method, path, *more, **named)
Transport.ask = recorded
main()
"""
"""`hami` that prints what it asks the API server, and leaves other replicas' Pods to these for a minute."""

PODS = 20
SHARE = {"gpumem": 16}


@contextlib.contextmanager
def recorded(plane, folder, namespace):
    """A webhook, and what it has asked for in NAMESPACE so far."""
    with webhook_process.running(folder, plane.kubeconfig, program=("-c", RECORDING)) as webhook:

        def calls():
            asked = rf"^CALL (\S+) (\S+/namespaces/{namespace}/\S+)$"
            return re.findall(asked, log.read_text(), re.MULTILINE)

        log = folder / "webhook.log"
        yield webhook, calls


def test_a_pod_costs_one_call_for_its_claim_and_a_workload_one_for_its_template(fresh, tmp_path):
    """Of two replicas the one that admitted the Pods makes both; updates of Pods and claims cost nothing."""
    plane = fresh.cluster.plane
    with (
        recorded(plane, tmp_path / "webhook", fresh.name) as (webhook, calls),
        recorded(plane, tmp_path / "second", fresh.name) as (_, calls_of_the_other),
        registered(plane, webhook),
    ):
        for at in range(PODS):
            fresh.create(kinds.PODS, pod(SHARE, name=f"train-{at}"))
        until(lambda: owners(fresh) == uids(fresh), "the claims")
        until(lambda: all("nodeName" in item["spec"] for item in fresh.list(kinds.PODS)), "nodes")
        assert calls() == [("POST", kinds.RESOURCE_CLAIMS.path(fresh.name))] * PODS
        for at in range(PODS):
            fresh.finish(f"train-{at}", "Running")
        fresh.create(kinds.DEPLOYMENTS, workload(kinds.DEPLOYMENTS, "web", SHARE, replicas=PODS))
        until(lambda: len(fresh.claims()) == 2 * PODS, "the claims of the Deployment")
        assert calls()[PODS:] == [("POST", kinds.RESOURCE_CLAIM_TEMPLATES.path(fresh.name))]
        assert calls_of_the_other() == []
