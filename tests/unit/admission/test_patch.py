import copy
import dataclasses
import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hami_dra.admission import init_shares
from hami_dra.admission.families import NVIDIA, Annotations, ResourceNames
from hami_dra.admission.patch import Surroundings, claim_name, convert
from hami_dra.admission.request import requests_of
from hami_dra.admission.settings import Settings
from hami_dra.model import names
from hami_dra.model.errors import RequestDenied
from hami_dra.model.published import Card
from tests.unit.admission.pods import GIB, NOWHERE, converted, gpu, pod


@pytest.mark.parametrize("name", ["a", "a" * 63], ids=["short", "as long as names may be"])
def test_each_claim_of_a_pod_has_a_name_of_its_own_whatever_its_user_calls_his(name):
    source = pod(gpu(gpumem=1024), resourceClaims=[{"name": name, "resourceClaimName": "mine"}])
    (container,) = source["spec"]["containers"]
    source["spec"]["containers"] = [container | {"name": name}, container | {"name": "a-1"}]
    listed = [entry["name"] for entry in converted(source).pod["spec"]["resourceClaims"]]
    assert len(set(listed)) == 3
    assert max(map(len, listed)) <= 63


@pytest.mark.parametrize("forged", ['{"claims":{"mine":{"devices":"all"}}}', '{"claims":[3]}', "{"])
def test_a_forged_annotation_is_replaced_by_ours(forged):
    source = pod(gpu(gpumem=1024))
    source["metadata"]["annotations"] = {names.CLAIMS_ANNOTATION: forged, names.RESOURCES_ANNOTATION: forged}
    assert converted(source).pod == converted(pod(gpu(gpumem=1024))).pod


def test_the_guides_pod_gets_the_guides_claim():
    with open("tests/guide/compatible.yaml") as file:
        source = yaml.safe_load(file)
    with open("tests/guide/compatible.claim.expected.yaml") as file:
        expected = yaml.safe_load(file)
    made = convert(source, "default", Settings(), NOWHERE)
    assert made.claims == {expected["metadata"]["name"]: expected["spec"]}
    assert made.templates == {}


def test_pods_of_a_group_differ_in_nothing_by_which_a_queue_would_tell_them_apart():
    """Kueue admits a group of at most 8 kinds of Pods; the names of their claims count, too."""
    group = {"kueue.x-k8s.io/pod-group-name": "training"}
    made = []
    for name in ("worker-0", "worker-1"):
        source = pod(gpu(gpumem=1024), name=name)
        source["metadata"]["labels"] = group
        made.append(converted(source))
    first, second = (each.pod["spec"] for each in made)
    assert first == second
    assert first["resourceClaims"][0]["resourceClaimTemplateName"] in made[0].templates


def test_pods_of_one_shape_share_a_template_and_others_do_not():
    one = converted(pod(gpu(gpu=1, gpumem=1024), name="")).templates
    same = converted(pod(gpu(gpumem=1024), name="")).templates
    other = converted(pod(gpu(gpumem=1025), name="")).templates
    assert set(one) == set(same)
    assert set(one).isdisjoint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a" * 60 + "1", "cuda"), ("a" * 60 + "2", "cuda")),
        (("train.1", "cuda"), ("train-1", "cuda")),
        (("a" * 60, "b-c"), ("a" * 60 + "-b", "c")),
        ((("a" * 50 + ".") * 3 + "x", "cuda"), (("a" * 50 + ".") * 3 + "y", "cuda")),
    ],
    ids=["long", "dots", "long, cut elsewhere", "cut at a dot"],
)
def test_names_of_claims_are_legal_and_no_two_pods_want_the_same(one, other):
    both = {claim_name("ml", {"metadata": {"name": name}}, container) for name, container in (one, other)}
    assert len(both) == 2
    for name in both:
        assert len(name) <= 63
        assert all(re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", part) for part in name.split("."))


def test_annotations_that_admissions_own_make_too_long_are_refused_in_our_words():
    long = pod(gpu(gpumem=1024))
    long["metadata"]["annotations"] = {"notes": "x" * (256 * 1024 - 100)}
    with pytest.raises(RequestDenied) as refused:
        converted(long)
    said = (
        r"metadata\.annotations: 262049 bytes, and admission adds \d+: Kubernetes allows 262144 in all\. .*"
    )
    assert re.fullmatch(said, str(refused.value))
    # Those that are too long by themselves are the API server's to refuse.
    long["metadata"]["annotations"]["notes"] += "x" * 100
    converted(long)
    del long["metadata"]["annotations"]["notes"]
    converted(long)


def test_of_an_environment_variable_that_is_written_twice_the_last_counts():
    source = pod(gpu(gpumem=1024, gpucores=30))
    twice = [{"name": "GPU_CORE_UTILIZATION_POLICY", "value": value} for value in ("disable", "force")]
    source["spec"]["containers"][0]["env"] = twice
    (claim,) = converted(source).claims.values()
    assert "config" not in claim["devices"]


def test_a_privileged_container_with_a_share_is_warned_of_and_another_is_not():
    source = pod(gpu(gpumem=1024))
    other = {"name": "agent", "securityContext": {"privileged": True}}
    source["spec"]["containers"].append(other)
    assert converted(source).warnings == []
    source["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    (warning,) = converted(source).warnings
    assert warning.startswith("spec.containers[cuda]: it is privileged: ")


def test_another_family_is_data_alone():
    amd = dataclasses.replace(
        NVIDIA,
        name="amd",
        resources=ResourceNames(gpu="amd.com/gpu", memory="amd.com/mem"),
        annotations=Annotations(use_type="amd.com/use-gputype"),
        driver="gpu.example.com",
        device_class="amd-share",
        device_type="amd",
        request="amd",
        memory_unit=256 * 1024**2,
    )
    source = pod({"amd.com/mem": "2"})
    source["metadata"]["annotations"] = {"amd.com/use-gputype": "MI300"}
    made = convert(source, "ml", Settings(families=(NVIDIA, amd)), NOWHERE)
    (request,) = made.claims["ml-train-cuda"]["devices"]["requests"]
    attributes = 'device.attributes["gpu.example.com"]'
    assert request == {
        "name": "amd",
        "exactly": {
            "allocationMode": "ExactCount",
            "count": 1,
            "deviceClassName": "amd-share",
            "capacity": {"requests": {"memory": str(512 * 1024**2)}},
            "selectors": [
                {"cel": {"expression": f'{attributes}.type == "amd"'}},
                {"cel": {"expression": f'{attributes}.productName.lowerAscii().contains("mi300")'}},
            ],
        },
    }


def test_one_container_cannot_ask_for_cards_of_two_families():
    other = dataclasses.replace(NVIDIA, resources=ResourceNames(gpu="amd.com/gpu"))
    with pytest.raises(RequestDenied, match=r"nvidia.com/gpu and amd.com/gpu are of different accelerators"):
        convert(
            pod({"amd.com/gpu": 1, "nvidia.com/gpu": 1}), "ml", Settings(families=(NVIDIA, other)), NOWHERE
        )


def test_a_pod_with_every_name_taken_is_still_answered():
    source = pod(gpu(gpumem=1))
    source["spec"]["resourceClaims"] = [{"name": "cuda"}] + [{"name": f"cuda-{at}"} for at in range(1, 300)]
    assert converted(source).pod["spec"]["resourceClaims"][-1]["name"] == "cuda-300"


amounts = st.fixed_dictionaries(
    {},
    optional={
        "gpu": st.integers(1, 8),
        "gpumem": st.integers(1, 10**6),
        "gpucores": st.integers(0, 100),
        "priority": st.integers(0, 1),
    },
).filter(lambda asked: set(asked) - {"priority"})
percentages = st.fixed_dictionaries(
    {"gpumem_percentage": st.integers(1, 100)}, optional={"gpu": st.integers(1, 4)}
)
others = st.dictionaries(st.sampled_from(["cpu", "memory", "x.io/y"]), st.just("1"))
container_amounts = st.one_of(st.just({}), amounts, percentages)
annotation_values = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(
    lambda text: text.replace(",", "").strip()
)
annotations = st.dictionaries(
    st.sampled_from(
        ["nvidia.com/use-gputype", "nvidia.com/nouse-gputype", "nvidia.com/nouse-gpuuuid", "example.com/note"]
    ),
    annotation_values,
)
CARDS = [
    Card(names.DRIVER, "a", f"hami-gpu-{at}", memory=size, attributes={"type": {"string": names.DEVICE_TYPE}})
    for at, size in enumerate([24 * GIB, 80 * GIB, 7919 * 1024**2])
]


@st.composite
def any_pods(draw):
    def container(name, **more):
        limits = gpu(**draw(container_amounts)) | draw(others)
        return {"name": name, "image": draw(st.text(max_size=5)), "resources": {"limits": limits}} | more

    spec = {"containers": [container(f"c{at}") for at in range(draw(st.integers(1, 3)))]}
    spec["initContainers"] = [
        container(f"i{at}", **draw(st.sampled_from([{}, {"restartPolicy": "Always"}])))
        for at in range(draw(st.integers(0, 3)))
    ]
    spec |= draw(st.dictionaries(st.sampled_from(["priority", "hostNetwork"]), st.integers()))
    metadata = draw(st.sampled_from([{"name": "train"}, {"generateName": "train-"}]))
    return {"kind": "Pod", "metadata": metadata | {"annotations": draw(annotations)}, "spec": spec}


@given(any_pods())
def test_any_pod_keeps_everything_else_and_holds_no_less_than_it_asked_for(source):
    before = copy.deepcopy(source)
    around = Surroundings(cards=CARDS)
    try:
        made = convert(source, "ml", Settings(), around)
    except RequestDenied:
        # Of what is drawn only percentages of cards that the annotations exclude are refused.
        assert any(request.percentage for request in requests_of(source, (NVIDIA,)))
        return
    assert source == before
    if made is None:
        assert not any(name.startswith("nvidia.com/") for one in all_of(source) for name in limits(one))
        return
    assert convert(made.pod, "ml", Settings(), around) is None, "idempotent"
    assert without(made.pod) == without(source)
    entries = {entry["name"]: entry for entry in made.pod["spec"]["resourceClaims"]}
    for request in requests_of(source, (NVIDIA,)):
        (container,) = [one for one in all_of(made.pod) if one["name"] == request.container]
        (claim,) = container["resources"]["claims"]
        entry = entries[claim["name"]]
        spec = (
            made.claims.get(entry.get("resourceClaimName"))
            or made.templates[entry["resourceClaimTemplateName"]]
        )
        check_no_less(request, spec)


def check_no_less(request, spec):
    requests = spec["devices"]["requests"]
    assert len(requests) == request.count
    assert all(asked | {"name": ""} == requests[0] | {"name": ""} for asked in requests)
    for one in requests[0].get("firstAvailable") or [requests[0]["exactly"]]:
        given = one["capacity"]["requests"]
        assert int(given["cores"]) >= request.cores
        if request.memory:
            assert int(given["memory"]) >= request.memory
        if request.percentage and "memory" in given:
            chosen_by = json.dumps(one["selectors"])
            (size,) = [card.memory for card in CARDS if f'"{card.memory}"' in chosen_by.replace('\\"', '"')]
            assert int(given["memory"]) * 100 >= min(size * request.percentage, size * 100)
            assert int(given["memory"]) <= size


@given(any_pods())
def test_a_share_is_used_in_turn_only_by_an_init_container_that_it_covers(source):
    requests = requests_of(source, (NVIDIA,))
    by_name = {request.container: request for request in requests}
    for borrower, lender in init_shares.lenders(requests).items():
        assert by_name[borrower].runs == "before"
        assert by_name[lender].runs in ("before", "main")
        assert init_shares.covers(by_name[lender], by_name[borrower])
        assert lender not in init_shares.lenders(requests)


def all_of(source):
    return source["spec"]["initContainers"] + source["spec"]["containers"]


def limits(container):
    return container["resources"].get("limits", {})


def without(source):
    """The Pod without what admission may change."""
    left = copy.deepcopy(source)
    left["spec"].pop("resourceClaims", None)
    for key in ("labels",):
        left["metadata"].pop(key, None)
    written = (names.CLAIMS_ANNOTATION, names.RESOURCES_ANNOTATION, names.ASKED_MEMORY, names.ASKED_CORES)
    for key in written:
        left["metadata"]["annotations"].pop(key, None)
    for container in all_of(left):
        kept = {key: value for key, value in limits(container).items() if not key.startswith("nvidia.com/")}
        container["resources"] = {"limits": kept} if kept else {}
    return left


def test_what_a_user_writes_for_the_sums_does_not_stay_for_a_policy_to_believe():
    source = pod(gpu(gpu=1))
    source["metadata"]["annotations"] = {names.ASKED_MEMORY: "1", names.ASKED_CORES: "1", "mine": "stays"}
    annotations = converted(source).pod["metadata"]["annotations"]
    assert names.ASKED_MEMORY not in annotations, "a whole card has no known size"
    assert (annotations[names.ASKED_CORES], annotations["mine"]) == ("100", "stays")
