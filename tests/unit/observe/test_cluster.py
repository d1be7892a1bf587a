"""What the monitor tells of room and of Pods that wait."""

from hami_dra.model import names
from hami_dra.model.room import Wish
from tests.unit.observe.test_allocation import GIB, claim, scrape, slice_of


def pod(name, *, claim_name="half", created="2026-11-25T02:00:00Z", labels=None, **status):
    return {
        "metadata": {
            "namespace": "ml",
            "name": name,
            "creationTimestamp": created,
            "labels": labels or {},
        },
        "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": claim_name}]},
        "status": {"phase": "Pending", **status},
    }


def asking(name="half", memory="10Gi", device_class=names.DRIVER):
    exactly = {"deviceClassName": device_class, "capacity": {"requests": {"memory": memory}}}
    return {
        "metadata": {"namespace": "ml", "name": name},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}},
    }


def test_the_largest_share_that_fits_is_that_of_the_emptiest_card_of_a_node():
    card = slice_of("a")["spec"]["devices"][0]
    node = slice_of("a")
    node["spec"]["devices"] = [
        card,
        card | {"name": "hami-gpu-1", "attributes": {"uuid": {"string": "GPU-2"}}},
    ]
    series = scrape([node], [claim("one", memory="15Gi", cores="80")])
    assert float(series['hami_dra_node_memory_free_bytes{node="a"}']) == 25 * GIB
    assert float(series['hami_dra_node_largest_free_memory_bytes{node="a"}']) == 20 * GIB
    assert float(series['hami_dra_node_largest_free_core_ratio{node="a"}']) == 1
    assert float(series['hami_dra_node_gpus{node="a"}']) == 2


def test_what_a_namespace_holds_counts_a_shared_claim_once():
    series = scrape([slice_of("a")], [claim("one", "two"), claim("three", memory="2Gi", cores="10")])
    assert float(series['hami_dra_namespace_memory_allocated_bytes{namespace="ml"}']) == 12 * GIB
    assert float(series['hami_dra_namespace_core_allocated_ratio{namespace="ml"}']) == 0.6
    assert float(series['hami_dra_namespace_shares{namespace="ml"}']) == 2


def test_a_pod_that_waits_is_counted_by_its_cause_and_told_with_its_age():
    full = claim("one", memory="20Gi")
    series = scrape([slice_of("a")], [full, asking("big")], pods=[pod("late", claim_name="big")])
    assert series['hami_dra_pods_waiting{reason="NoRoom"}'] == "1"
    since = series['hami_dra_pod_waiting_since_timestamp_seconds{namespace="ml",pod="late",reason="NoRoom"}']
    assert float(since) == 1795572000


def test_a_pod_whose_claim_is_of_another_driver_is_not_ours_to_explain():
    other = asking("nic", device_class="nic.example.com")
    pods = [pod("network", claim_name="nic")]
    series = scrape([slice_of("a")], [other], pods=pods, classes=[names.DRIVER, "nic.example.com"])
    assert not [name for name in series if "waiting{" in name]


def test_a_converted_pod_without_its_claim_waits_for_it():
    waiting = pod("new", claim_name="", labels={names.CONVERTED_LABEL: "true"})
    series = scrape([slice_of("a")], [], pods=[waiting])
    assert series['hami_dra_pods_waiting{reason="NoClaim"}'] == "1"


def test_no_more_than_a_hundred_waiting_pods_are_told_one_by_one():
    pods = [pod(f"p{i}", created=f"2026-11-25T02:{i // 60:02}:{i % 60:02}Z") for i in range(150)]
    series = scrape([slice_of("a")], [asking(memory="100Gi")], pods=pods)
    assert series['hami_dra_pods_waiting{reason="TooLarge"}'] == "150"
    told = [name for name in series if name.startswith("hami_dra_pod_waiting_since")]
    assert len(told) == 100
    assert any('pod="p0"' in name for name in told), "those that wait longest"


def test_a_pod_whose_limits_no_webhook_made_a_claim_of_is_told():
    stranded = pod("stranded")
    del stranded["spec"]["resourceClaims"]
    stranded["spec"]["containers"] = [{"resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "1"}}}]
    plain = pod("plain")
    plain["spec"] = {"containers": [{"resources": {"limits": {"cpu": "1", "example.com/other": "1"}}}]}
    series = scrape([slice_of("a")], [], pods=[stranded, plain])
    assert {name: value for name, value in series.items() if "pods_waiting{" in name} == {
        'hami_dra_pods_waiting{reason="NotConverted"}': "1"
    }


def test_what_many_pods_lack_alike_is_worked_out_once(monkeypatch):
    """With 4000 cards that takes milliseconds: 2000 Pods that wait held up each scrape for many seconds."""
    looked = []
    matches = Wish.matches
    monkeypatch.setattr(Wish, "matches", lambda wish, card: looked.append(card) or matches(wish, card))
    counts = []
    for number in (1, 50):
        looked.clear()
        claims = [asking(f"c{at}", memory="100Gi") for at in range(number)]
        pods = [pod(f"p{at}", claim_name=f"c{at}") for at in range(number)]
        series = scrape([slice_of("a")], claims, pods=pods)
        assert series['hami_dra_pods_waiting{reason="TooLarge"}'] == str(number)
        counts.append(len(looked))
    assert counts[0] == counts[1] > 0


def test_a_claim_without_requests_breaks_no_scrape():
    empty = {"metadata": {"namespace": "ml", "name": "half"}, "spec": {"devices": {}}}
    series = scrape([slice_of("a")], [empty], pods=[pod("new", labels={names.CONVERTED_LABEL: "true"})])
    assert series['hami_dra_pods_waiting{reason="Scheduler"}'] == "1"
