"""`hami` against a real API server: what it reads of version, gates, cards and webhook is what is there."""

import json
import tarfile

from hami_dra.kube import kinds
from hami_dra.model.names import DRIVER
from tests.control_plane.conftest import hami


def test_doctor_reads_a_real_api_server(cluster):
    done = hami(cluster.plane, "doctor", "-o", "json")
    found = {each["id"]: each for each in json.loads(done.stdout)}
    assert found["kubernetes-version"]["severity"] == "ok"
    assert found["feature-gate"]["severity"] == "ok"
    assert found["device-class"]["severity"] == "ok"
    assert found["shared-devices"]["severity"] == "ok"
    assert found["plugin"]["severity"] == "error", "there is no DaemonSet here"
    unknown = {each["id"] for each in found.values() if each["severity"] == "unknown"}
    assert unknown <= {"kubelet-gate"}, "the nodes here are objects only, without a kubelet to ask"
    assert done.returncode == 1


def test_doctor_misses_the_device_class_when_it_is_gone(cluster):
    kept = cluster.client.get(kinds.DEVICE_CLASSES, DRIVER)
    cluster.client.delete(kinds.DEVICE_CLASSES, DRIVER)
    try:
        done = hami(cluster.plane, "doctor", "-o", "json")
    finally:
        kept["metadata"] = {"name": DRIVER, "labels": kept["metadata"].get("labels", {})}
        cluster.client.create(kinds.DEVICE_CLASSES, kept)
    (finding,) = [each for each in json.loads(done.stdout) if each["id"] == "device-class"]
    assert (finding["severity"], finding["found"]) == ("error", f"{DRIVER} is missing")


def test_status_shows_the_published_cards(cluster):
    seen = json.loads(hami(cluster.plane, "status", "-o", "json").stdout)
    assert seen["gate"] == "on"
    assert seen["kubernetes"] == f"v{cluster.plane.release.version}"
    assert {card["product"] for card in seen["cards"]}
    assert all(card["memory"] > 0 for card in seen["cards"])


def test_a_bundle_of_a_real_api_server_lacks_nothing_but_logs(cluster, tmp_path):
    path = tmp_path / "b.tar.gz"
    done = hami(cluster.plane, "bundle", "-f", str(path))
    assert done.returncode == 0, done.stderr
    with tarfile.open(path) as archive:
        names = {entry.name.partition("/")[2] for entry in archive}
    assert {"doctor.json", "objects/resourceslices.json", "objects/nodes.json", "events.json"} <= names
