"""What plugins say in `status.devices` of a claim, as the real API server merges it."""

import secrets

from hami_dra.kube import kinds
from hami_dra.model import names
from hami_dra.model.claim import ClaimRef
from hami_dra.node.claim_files import Granted
from hami_dra.node.reporter import SETTLED_S, Reporter

NPU = "ascend.project-hami.io"
NODE = "elsewhere"  # the scheduler would count what is taken of a card of the others' tests


def test_two_families_that_have_a_part_of_one_claim_each_say_so_and_neither_takes_away_the_others(plane):
    name = f"both-{secrets.token_hex(3)}"
    parts = {names.DRIVER: "hami-gpu-0", NPU: "ascend-0"}
    requests = [{"name": f"r{at}", "exactly": {"deviceClassName": driver}} for at, driver in enumerate(parts)]
    results = [
        {"request": f"r{at}", "driver": driver, "pool": NODE, "device": device}
        for at, (driver, device) in enumerate(parts.items())
    ]
    body = {"metadata": {"name": name}, "spec": {"devices": {"requests": requests}}}
    stored = plane.client.create(kinds.RESOURCE_CLAIMS, body, "default")
    allocation = {"status": {"allocation": {"devices": {"results": results}}}}
    plane.client.patch(kinds.RESOURCE_CLAIMS, name, allocation, "default", subresource="status")
    ref, now = ClaimRef("default", name, stored["metadata"]["uid"]), [0.0]
    for driver, device in parts.items():
        reporter = Reporter(plane.client, driver, clock=lambda: now[0])
        reporter.prepared(ref, [Granted("r", NODE, device, "", ("cdi",))])
        now[0] += SETTLED_S
        reporter.write_due()
    said = plane.client.get(kinds.RESOURCE_CLAIMS, name, "default")["status"]["devices"]
    assert {each["driver"]: each["conditions"][0]["type"] for each in said} == dict.fromkeys(parts, "Ready")
