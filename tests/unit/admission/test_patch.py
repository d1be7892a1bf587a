import copy
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hami_dra.admission.patch import Settings, Surroundings, convert
from hami_dra.model import names
from hami_dra.model.errors import RequestDenied
from tests.unit.admission.pods import gpu, pod

GIB = 1024**3
NOWHERE = Surroundings()


def exact(conversion):
    (spec,) = (conversion.claims | conversion.templates).values()
    (request,) = spec["devices"]["requests"]
    return request["exactly"]


def converted(source, surroundings=NOWHERE):
    made = convert(source, "ml", Settings(), surroundings)
    assert made is not None
    return made


def test_the_guides_pod_gets_the_guides_claim():
    with open("tests/guide/compatible.yaml") as file:
        source = yaml.safe_load(file)
    with open("tests/guide/compatible.claim.expected.yaml") as file:
        expected = yaml.safe_load(file)
    made = convert(source, "default", Settings(), NOWHERE)
    assert made.claims == {expected["metadata"]["name"]: expected["spec"]}
    assert made.templates == {}


@pytest.mark.parametrize(
    ("limits", "amounts"),
    [
        (gpu(gpu=1, gpumem=10240, gpucores=50), {"memory": str(10 * GIB), "cores": "50"}),
        (gpu(gpumem=1024), {"memory": str(GIB), "cores": "0"}),
        (gpu(gpu=1, gpucores=30), {"cores": "30"}),
        (gpu(gpu=1), {"cores": "100"}),
        (gpu(gpu=1, gpumem=1), {"memory": str(1024**2), "cores": "0"}),
        (gpu(gpu=1, gpumem="1k"), {"memory": str(1000 * 1024**2), "cores": "0"}),
    ],
)
def test_limits_become_amounts(limits, amounts):
    assert exact(converted(pod(limits)))["capacity"]["requests"] == amounts


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (gpu(gpu=1, gpumem=0), ["nvidia.com/gpumem is 0", "cuda", "1 or more"]),
        (gpu(gpu=1, gpumem=-5), ["nvidia.com/gpumem is -5"]),
        (gpu(gpu=1, gpumem="1500m"), ["1500m is not a whole number", "gpumem"]),
        (gpu(gpu=1, gpumem="ten"), ["'ten' is not a quantity", "gpumem"]),
        (gpu(gpu=1, gpucores=101), ["nvidia.com/gpucores is 101", "0 to 100"]),
        (gpu(gpu=0), ["nvidia.com/gpu is 0"]),
        (gpu(gpu=1, gpumem=1, gpumem_percentage=10), ["contradict each other"]),
        (gpu(gpumem_percentage=101), ["gpumem-percentage is 101"]),
        (gpu(gpumem_percentage=50), ["no node publishes one yet"]),
    ],
)
def test_impossible_limits_are_denied_with_what_where_and_how(limits, words):
    with pytest.raises(RequestDenied) as denied:
        converted(pod(limits))
    for word in words:
        assert word in str(denied.value)


def test_a_pod_put_on_a_node_by_hand_is_denied():
    with pytest.raises(RequestDenied, match=r"spec\.nodeName"):
        converted(pod(gpu(gpu=1), nodeName="a"))


def test_a_pod_without_our_resources_is_left_alone():
    assert convert(pod({"cpu": "1"}), "ml", Settings(), NOWHERE) is None


def test_several_cards_are_distinct_cards():
    made = converted(pod(gpu(gpu=2, gpumem=1024)))
    (spec,) = made.claims.values()
    assert exact(made)["count"] == 2
    assert spec["devices"]["constraints"] == [
        {"requests": ["gpu"], "distinctAttribute": f"{names.DRIVER}/uuid"}
    ]


def test_a_percentage_asks_for_that_part_of_each_size_of_card():
    sizes = [80 * GIB, 24 * GIB]
    made = converted(pod(gpu(gpumem_percentage=50)), Surroundings(memory_sizes=sizes))
    (spec,) = made.claims.values()
    (request,) = spec["devices"]["requests"]
    asked = [int(one["capacity"]["requests"]["memory"]) for one in request["firstAvailable"]]
    assert asked == [40 * GIB, 12 * GIB]
    for size, one in zip(sizes, request["firstAvailable"], strict=True):
        assert str(size) in one["selectors"][-1]["cel"]["expression"]


@pytest.mark.parametrize("made_by", ["controller", "generateName", "a taken name"])
def test_pods_that_cannot_have_the_named_claim_get_a_template(made_by):
    source, surroundings = pod(gpu(gpu=1, gpumem=1024)), NOWHERE
    if made_by == "controller":
        source["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "controller": True}]
    elif made_by == "generateName":
        source = pod(gpu(gpu=1, gpumem=1024), name="")
    else:
        surroundings = Surroundings(name_taken=lambda namespace, name: name == "ml-train-cuda")
    made = converted(source, surroundings)
    assert made.claims == {}
    (template,) = made.templates
    assert made.pod["spec"]["resourceClaims"] == [{"name": "cuda", "resourceClaimTemplateName": template}]


def test_pods_of_one_shape_share_a_template_and_others_do_not():
    one = converted(pod(gpu(gpu=1, gpumem=1024), name="")).templates
    same = converted(pod(gpu(gpumem=1024), name="")).templates
    other = converted(pod(gpu(gpumem=1025), name="")).templates
    assert set(one) == set(same)
    assert set(one).isdisjoint(other)


def test_init_containers_and_sidecars_get_claims_of_their_own():
    source = pod(gpu(gpu=1, gpumem=1024))
    side = {"name": "side", "restartPolicy": "Always", "resources": {"requests": gpu(gpumem=512)}}
    source["spec"]["initContainers"] = [side]
    made = converted(source)
    assert set(made.claims) == {"ml-train-cuda", "ml-train-side"}
    assert made.pod["spec"]["initContainers"][0]["resources"]["claims"] == [{"name": "side"}]


@pytest.mark.parametrize(
    ("annotation", "value", "expression"),
    [
        ("use-gputype", "A10", '(ATTR.productName.lowerAscii().contains("a10"))'),
        ("nouse-gputype", "T4", '!(ATTR.productName.lowerAscii().contains("t4"))'),
        ("use-gpuuuid", "GPU-1, GPU-2", '(ATTR.uuid == "GPU-1" || ATTR.uuid == "GPU-2")'),
        ("nouse-gpuuuid", 'x"y', '!(ATTR.uuid == "x\\"y")'),
    ],
)
def test_annotations_choose_cards_by_escaped_expressions(annotation, value, expression):
    source = pod(gpu(gpu=1))
    source["metadata"]["annotations"] = {f"nvidia.com/{annotation}": value}
    chosen = exact(converted(source))["selectors"][1]["cel"]["expression"]
    assert chosen == expression.replace("ATTR", f'device.attributes["{names.DRIVER}"]')


def test_long_names_stay_legal_and_distinct():
    first = converted(pod(gpu(gpu=1), name="a" * 60 + "1")).claims
    second = converted(pod(gpu(gpu=1), name="a" * 60 + "2")).claims
    assert all(len(name) <= 63 for name in [*first, *second])
    assert set(first) != set(second)


amounts = st.fixed_dictionaries(
    {},
    optional={
        "gpu": st.integers(1, 8),
        "gpumem": st.integers(1, 10**6),
        "gpucores": st.integers(0, 100),
    },
).filter(bool)


@given(amounts, st.dictionaries(st.sampled_from(["cpu", "memory", "x.io/y"]), st.just("1")))
def test_a_conversion_keeps_everything_else_and_asks_for_no_less(asked, others):
    source = pod(gpu(**asked) | others)
    before = copy.deepcopy(source)
    made = converted(source)
    assert source == before
    assert made.pod["spec"]["containers"][0]["resources"].get("limits", {}) == others
    wanted = exact(made)
    assert wanted["count"] == asked.get("gpu", 1)
    requests = wanted["capacity"]["requests"]
    if "gpumem" in asked:
        assert int(requests["memory"]) == asked["gpumem"] * 1024**2
    assert int(requests["cores"]) >= asked.get("gpucores", 0)
    assert convert(made.pod, "ml", Settings(), NOWHERE) is None
    assert json.loads(made.pod["metadata"]["annotations"][names.CLAIMS_ANNOTATION])["claims"] == made.claims
