"""Native claims and Pods: what can never work is denied, what is doubtful gets a warning."""

import dataclasses

import pytest

from hami_dra.admission import validate
from hami_dra.admission.families import MIG, NVIDIA, of_profiles
from hami_dra.devices import families
from hami_dra.model import names
from hami_dra.model.parameters import API_VERSION, KIND
from hami_dra.model.published import Card

GIB = 1024**3
OURS = {"type": {"string": names.DEVICE_TYPE}}
CARDS = [Card(names.DRIVER, "a", "hami-gpu-0", memory=24 * GIB, cores=100, attributes=OURS)]


def spec(amounts=None, *, config=None, device_class=names.DRIVER, **more):
    exactly = {"deviceClassName": device_class, "capacity": {"requests": amounts or {}}} | more
    devices = {"requests": [{"name": "gpu", "exactly": exactly}]}
    if config is not None:
        devices["config"] = [{"opaque": {"driver": names.DRIVER, "parameters": config}}]
    return {"devices": devices}


def look(what):
    return validate.claim(what, "spec", (NVIDIA,), CARDS)


SHIPPED = (NVIDIA, *of_profiles(families.profiles(families.known())[0]), MIG)


def problems(family, amounts, **more):
    what = spec(amounts, device_class=f"{family}.project-hami.io", **more)
    return "; ".join(map(str, validate.claim(what, "spec", SHIPPED, CARDS).problems))


@pytest.mark.parametrize(
    "amounts",
    [
        {},
        {"memory": "10Gi"},
        {"memory": "1Mi"},
        {"memory": 10737418240},
        {"memory": "24Gi", "cores": "100"},
        {"cores": 0},
        {"cores": "50"},
        {"cores": 1},
    ],
)
def test_a_claim_that_can_work_passes_without_a_word(amounts):
    verdict = look(spec(amounts))
    assert not verdict.problems
    assert not verdict.warnings


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        ({"mem": "10Gi"}, ["capacity.requests[mem]", "Write memory"]),
        ({"memori": "10Gi"}, ["[memori]", "Write memory"]),
        ({"Memory": "10Gi"}, ["[Memory]", "Write memory"]),
        ({"gpumem": "10Gi"}, ["Write memory"]),
        ({"vram": "10Gi"}, ["Write memory"]),
        ({f"{names.DRIVER}/memory": "10Gi"}, [f"[{names.DRIVER}/memory]", "Write memory"]),
        ({"core": "50"}, ["[core]", "Write cores"]),
        ({"gpucores": "50"}, ["Write cores"]),
        ({"compute": "50"}, ["Write cores"]),
        ({"bandwidth": "1"}, ["[bandwidth]", "Write cores or memory"]),
        ({"memory": "0"}, ["0 is less than 1 MiB", "1Mi or more"]),
        ({"memory": "10"}, ["10 is less than 1 MiB: a number alone counts bytes", "Write 10Gi"]),
        ({"memory": "-1Gi"}, ["-1Gi is less than 1 MiB"]),
        ({"memory": "ten"}, ["'ten' is not a quantity"]),
        ({"memory": "1000Ti"}, ["no card has 1000Ti"]),
        ({"cores": "101"}, ["101 is no percentage of a card", "Write 0 to 100"]),
        ({"cores": "-1"}, ["-1 is no percentage"]),
        ({"cores": "500m"}, ["500m is no percentage"]),
        ({"mem": "1Gi", "core": "50"}, ["Write memory", "Write cores"]),
    ],
)
def test_a_claim_that_can_never_work_is_denied_with_the_field_and_the_fix(amounts, words):
    text = "; ".join(map(str, look(spec(amounts)).problems))
    for word in words:
        assert word in text


@pytest.mark.parametrize("several", [{"count": 2}, {"allocationMode": "All"}])
def test_what_crashes_the_scheduler_of_the_release_is_denied_and_what_later_ones_serve_is_not(several):
    what = spec({"memory": "1Gi"}, **several)
    (problem,) = validate.claim(what, "spec", (NVIDIA,), CARDS, 34).problems
    (key,) = several
    assert str(problem).startswith(f"spec.devices.requests[0].exactly.{key}: on several devices")
    assert "Write a request for each device" in str(problem)
    for release in (0, 35, 36):
        assert not validate.claim(what, "spec", (NVIDIA,), CARDS, release).problems
    one = spec({"memory": "1Gi"}, count=1, allocationMode="ExactCount")
    assert not validate.claim(one, "spec", (NVIDIA,), CARDS, 34).problems


def test_admin_access_is_denied_as_every_node_would_refuse_it():
    (problem,) = look(spec({}, adminAccess=True)).problems
    assert str(problem).startswith("spec.devices.requests[0].exactly.adminAccess: no node of ours")


def test_cores_that_are_counted_are_no_percentage():
    counted = dataclasses.replace(NVIDIA, device_class="npu.project-hami.io", cores_in_percent=False)
    many = spec({"cores": "4096"}, device_class="npu.project-hami.io")
    assert not validate.claim(many, "spec", (NVIDIA, counted), CARDS).problems


@pytest.mark.parametrize(
    ("family", "amounts", "words"),
    [
        ("amd", {"mem": "16Gi"}, "requests[mem]: no card has such a capacity. Write memory"),
        ("amd", {"cores": "101"}, "101 is no percentage of a card"),
        ("ascend", {"memori": "16Gi"}, "Write memory"),
        ("ascend", {"cores": "50"}, "requests[cores]: no card has such a capacity. Write memory"),
        ("neuron", {"core": "1"}, "Write cores"),
        ("neuron", {"memory": "16Gi"}, "requests[memory]: no card has such a capacity. Write cores"),
        ("neuron", {"cores": "1500m"}, "1500m is no number of cores. Write a whole number"),
        ("biren", {"memory": "16Gi"}, "is given whole, it has no capacities. Leave it out"),
        ("hami-core-mig", {"mem": "4Gi"}, "Write memory"),
        ("hami-core-mig", {"memory": "4"}, "a number alone counts bytes. Write 4Gi"),
    ],
)
def test_claims_of_every_family_are_looked_at_by_the_capacities_of_its_devices(family, amounts, words):
    assert words in problems(family, amounts)


def test_good_claims_of_other_families_pass():
    good = {"amd": {"memory": "16Gi", "cores": "30"}, "ascend": {"memory": "32Gi"}, "neuron": {"cores": "2"}}
    for family, amounts in (good | {"biren": {}, "hami-core-mig": {"memory": "4Gi", "cores": "50"}}).items():
        assert problems(family, amounts) == ""


def test_parameters_for_a_driver_that_takes_none_are_denied_as_the_node_would_refuse_them():
    what = spec({"memory": "16Gi"}, device_class="amd.project-hami.io")
    what["devices"]["config"] = [{"opaque": {"driver": "amd.project-hami.io", "parameters": {"a": 1}}}]
    (problem,) = validate.claim(what, "spec", SHIPPED, CARDS).problems
    assert str(problem).startswith("spec.devices.config[0].opaque: amd.project-hami.io takes no parameters")


def test_a_large_chip_beside_small_ones_of_its_family_is_no_reason_to_warn():
    cards = [
        Card("ascend.project-hami.io", "a", f"n-{at}", memory=size * GIB, attributes=attributes)
        for at, (size, attributes) in enumerate(
            [(24, {"type": {"string": "hami-ascend"}}), (64, {"type": {"string": "hami-ascend"}})]
        )
    ]
    what = spec({"memory": "64Gi"}, device_class="ascend.project-hami.io")
    assert not validate.claim(what, "spec", SHIPPED, cards).warnings


def test_every_alternative_is_looked_at():
    one = {"name": "a", "deviceClassName": names.DRIVER, "capacity": {"requests": {"memory": "1Gi"}}}
    other = one | {"name": "b", "capacity": {"requests": {"mem": "1Gi"}}}
    what = {"devices": {"requests": [{"name": "gpu", "firstAvailable": [one, other]}]}}
    (problem,) = look(what).problems
    assert problem.where == "spec.devices.requests[0].firstAvailable[1].capacity.requests[mem]"


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"apiVersion": API_VERSION, "kind": KIND, "priority": "urgent"}, "parameters.priority"),
        ({"apiVersion": API_VERSION, "kind": KIND, "urgency": "high"}, "parameters.urgency"),
        ({"apiVersion": API_VERSION, "kind": KIND, "enforcement": "none"}, "parameters.enforcement"),
        ({"apiVersion": "v2", "kind": KIND}, "parameters.apiVersion"),
        ({}, "parameters.apiVersion"),
    ],
)
def test_parameters_are_read_strictly(config, where):
    wheres = [problem.where for problem in look(spec({"memory": "1Gi"}, config=config)).problems]
    assert f"spec.devices.config[0].opaque.{where}" in wheres


def test_good_parameters_pass():
    config = {"apiVersion": API_VERSION, "kind": KIND, "priority": "high", "coresPolicy": "soft"}
    assert not look(spec({"memory": "1Gi"}, config=config)).problems


def test_claims_of_other_drivers_are_none_of_our_business():
    verdict = look(spec({"mem": "0"}, device_class="gpu.example.com"))
    assert not verdict.problems
    assert not verdict.warnings


def test_more_than_the_largest_card_is_a_warning_because_a_larger_one_may_come():
    (warning,) = look(spec({"memory": "80Gi"})).warnings
    assert "memory 80Gi is more than the largest card's 24Gi" in warning


def test_several_shares_of_perhaps_one_card_are_a_warning_unless_they_are_kept_apart():
    (warning,) = look(spec({"memory": "1Gi"}, count=2)).warnings
    assert f"distinctAttribute: {names.DRIVER}/uuid" in warning
    apart = spec({"memory": "1Gi"}, count=2)
    apart["devices"]["constraints"] = [{"requests": ["gpu"], "distinctAttribute": f"{names.DRIVER}/uuid"}]
    assert not look(apart).warnings


def on_node(*entries):
    return {"kind": "Pod", "spec": {"nodeName": "a", "resourceClaims": list(entries)}}


def by_hand(pod, claims=None, templates=None):
    stored = validate.Stored(
        claim=lambda namespace, name: (claims or {}).get(name),
        template=lambda namespace, name: (templates or {}).get(name),
    )
    return validate.pod(pod, "ml", (NVIDIA,), stored).problems


def test_a_pod_put_on_a_node_by_hand_with_an_unallocated_claim_of_ours_is_denied():
    pod = on_node({"name": "gpu", "resourceClaimName": "half"})
    (problem,) = by_hand(pod, {"half": {"spec": spec()}})
    assert "spec.nodeName: the Pod never passes the scheduler, which allocates its claim gpu" in str(problem)
    (problem,) = by_hand(
        on_node({"name": "gpu", "resourceClaimTemplateName": "half"}),
        templates={"half": {"spec": {"spec": spec()}}},
    )
    assert "spec.nodeName" in str(problem)


def test_a_pod_put_on_a_node_by_hand_with_an_allocated_or_foreign_or_unknown_claim_is_let_through():
    pod = on_node({"name": "gpu", "resourceClaimName": "half"})
    assert not by_hand(pod, {"half": {"spec": spec(), "status": {"allocation": {"devices": {}, "x": 1}}}})
    assert not by_hand(pod, {"half": {"spec": spec(device_class="gpu.example.com")}})
    assert not by_hand(pod)
