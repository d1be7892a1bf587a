"""The resource names of every family that we ship become claims of its class, by its profile alone."""

import re

import pytest

from hami_dra.admission.families import NVIDIA, of_profiles
from hami_dra.admission.patch import Surroundings, convert, is_plain
from hami_dra.admission.settings import Settings
from hami_dra.devices import families
from hami_dra.model import quantity
from hami_dra.model.errors import RequestDenied
from hami_dra.model.published import Card
from tests.unit.admission.pods import pod

MI = 1024**2
GOOD, REFUSED = families.profiles(families.known())
SETTINGS = Settings((NVIDIA, *of_profiles(GOOD)))


def asked(limits, annotations=None):
    """The device request of a Pod with one container."""
    source = pod({name: str(amount) for name, amount in limits.items()})
    if annotations:
        source["metadata"]["annotations"] = annotations
    (claim,) = convert(source, "ml", SETTINGS, Surroundings()).claims.values()
    (request,) = claim["devices"]["requests"]
    return request["exactly"]


def selectors(device):
    return [each["cel"]["expression"] for each in device["selectors"]]


def test_no_shipped_profile_is_refused():
    assert REFUSED == []


@pytest.mark.parametrize(
    ("limits", "driver", "capacity"),
    [
        ("huawei.com/: Ascend910B3=1 Ascend910B3-memory=32768", "ascend", {"memory": 32768 * MI}),
        ("huawei.com/: Ascend310P-memory=6144", "ascend", {"memory": 6144 * MI}),
        ("huawei.com/: Ascend910A=1", "ascend", {}),
        ("huawei.com/: Ascend910B3=1 Ascend910B3-core=40", "ascend", {"memory": 32768 * MI}),
        (
            "huawei.com/: Ascend910B3=1 Ascend910B3-memory=1024 Ascend910B3-core=25",
            "ascend",
            {"memory": 16384 * MI},
        ),
        (
            "huawei.com/: Ascend910B3=1 Ascend910B3-memory=32768 Ascend910B3-core=10",
            "ascend",
            {"memory": 32768 * MI},
        ),
        ("huawei.com/: Ascend910B3=1 Ascend910B3-memory=1024 Ascend910B3-core=51", "ascend", {}),
        ("huawei.com/: Ascend910B3-memory=16384 Ascend910B3-core=0", "ascend", {"memory": 16384 * MI}),
        ("huawei.com/: Ascend310P=1 Ascend310P-core=12", "ascend", {"memory": 3072 * MI}),
        ("amd.com/: gpu=1 gpumem=1024 gpucores=30", "amd", {"memory": 1024 * MI, "cores": 30}),
        ("amd.com/: gpu=1", "amd", {"cores": 100}),
        ("aws.amazon.com/: neuron=1", "neuron", {}),
        ("aws.amazon.com/: neuroncore=1", "neuron", {"cores": 1}),
        (
            "cambricon.com/: vmlu=1 mlu.smlu.vmemory=20 mlu.smlu.vcore=10",
            "cambricon",
            {"memory": 20 * 256 * MI, "cores": 10},
        ),
        ("hygon.com/: dcunum=1 dcumem=2000 dcucores=60", "hygon", {"memory": 2000 * MI, "cores": 60}),
        ("iluvatar.ai/: BI-V150-vgpu=1 BI-V150.vMem=4", "iluvatar", {"memory": 1024 * MI, "cores": 0}),
        ("mthreads.com/: vgpu=1 sgpu-memory=2", "mthreads", {"memory": 1024 * MI, "cores": 0}),
        ("mthreads.com/: vgpu=1 sgpu-memory=32 sgpu-core=8", "mthreads", {"memory": 16384 * MI, "cores": 50}),
        ("mthreads.com/: vgpu=1 sgpu-memory=2 sgpu-core=1", "mthreads", {"memory": 1024 * MI, "cores": 7}),
        ("enflame.com/: gcu=1", "enflame", {}),
        ("enflame.com/: drs-gcu=6", "enflame", {"cores": 100}),
        ("enflame.com/: gcu-memory=512", "enflame", {"memory": 512 * MI, "cores": 0}),
        ("enflame.com/: gcu-memory=20480 gcu-core=40", "enflame", {"memory": 20480 * MI, "cores": 40}),
        ("metax-tech.com/: gpu=1", "metax", {}),
        ("metax-tech.com/: sgpu=1 vmemory=4 vcore=60", "metax", {"memory": 4096 * MI, "cores": 60}),
        ("metax-tech.com/: sgpu=1", "metax", {"cores": 100}),
        ("kunlunxin.com/: xpu=1", "kunlunxin", {}),
        ("kunlunxin.com/: vxpu=1 vxpu-memory=24576", "kunlunxin", {"memory": 24576 * MI}),
        ("birentech.com/: gpu=1", "biren", {}),
        ("vastaitech.com/: va=1", "vastai", {}),
    ],
)
def test_a_pod_of_each_family_becomes_a_claim_of_its_class(limits, driver, capacity):
    domain, *named = limits.split()
    amounts = dict(each.split("=") for each in named)
    device = asked({domain.rstrip(":") + name: amount for name, amount in amounts.items()})
    assert device["deviceClassName"] == f"{driver}.project-hami.io"
    wanted = {name: str(amount) for name, amount in capacity.items()}
    assert device.get("capacity", {}).get("requests", {}) == wanted
    assert selectors(device)[0].endswith(f'type == "hami-{driver}"')


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"huawei.com/Ascend910B3": 1, "huawei.com/Ascend910B3-core": 101}, "Write 0 to 100 (percent"),
        ({"mthreads.com/vgpu": 1, "mthreads.com/sgpu-core": 17}, "Write 0 to 16 (16 are a whole card)"),
        ({"metax-tech.com/sgpu": 1, "metax-tech.com/vmemory": 17179869184}, "counts units of 1Gi"),
        ({"metax-tech.com/vmemory": "16Gi"}, "Write 16, if bytes were meant"),
        ({"enflame.com/gcu-memory": 1, "enflame.com/gcu-core": "1.5"}, "Write a whole number"),
        ({"enflame.com/drs-gcu": 7}, "Write 1 to 6 (6 are a whole card)"),
        ({"enflame.com/drs-gcu": 3, "enflame.com/gcu-memory": 512}, "Keep the one or the other"),
        ({"kunlunxin.com/vxpu": 1, "kunlunxin.com/vxpu-memory": 0}, "Write 1 or more (MiB)"),
    ],
)
def test_an_amount_that_no_device_has_is_refused_in_the_familys_own_units(limits, said):
    with pytest.raises(RequestDenied, match=re.escape(said)):
        asked(limits)


def test_cores_that_come_with_memory_ask_for_a_template_that_has_as_many():
    """By the tables of the profile itself: a template's name tells its AI cores."""
    (ascend,) = (profile for profile in GOOD if profile.family == "ascend")
    chips = ascend.models.table.values()
    checked = 0
    for row in ascend.resources:
        for chip in chips:
            name = chip["productName"]
            if row.product not in name or (row.not_product and row.not_product in name):
                continue
            for percent, size in row.core_sizes.items():
                # The scheduler takes the next size there is.
                fitting = [
                    word
                    for each, word in chip["sizes"].items()
                    if quantity.parse(each) >= quantity.parse(size)
                ]
                template = re.match(r"vir(\d+)", fitting[0])
                cores = int(template.group(1)) if template else chip["aiCores"]
                assert cores * 100 >= percent * chip["aiCores"], (name, percent)
                checked += 1
    assert checked > 20


def parts(limits, *sizes):
    """(cores, memory) that a Pod asks for of an Enflame card of each of SIZES."""
    driver = "enflame.project-hami.io"
    attributes = {"type": {"string": "hami-enflame"}}
    cards = [Card(driver, "n1", f"gcu-{at}", size, 100, True, attributes) for at, size in enumerate(sizes)]
    source = pod({f"enflame.com/{name}": str(amount) for name, amount in limits.items()})
    (claim,) = convert(source, "ml", SETTINGS, Surroundings(cards=cards)).claims.values()
    (request,) = claim["devices"]["requests"]
    asked_for = [each["capacity"]["requests"] for each in request["firstAvailable"]]
    return [(int(each.get("cores", 0)), int(each["memory"])) for each in asked_for]


def test_slices_are_that_part_of_one_cards_memory_and_cores_whatever_its_size():
    assert parts({"drs-gcu": 3}, 32768 * MI, 65536 * MI) == [(50, 16384 * MI), (50, 32768 * MI)]


def test_whole_devices_of_other_families_have_no_mapping_of_kubernetes():
    """No DeviceClass of theirs has an extendedResourceName: nobody but the webhook makes their claims."""
    assert not is_plain(pod({"amd.com/gpu": "1"}), SETTINGS.families)
    assert is_plain(pod({"nvidia.com/gpu": "1"}), SETTINGS.families)


def test_a_percentage_is_one_of_each_size_of_card():
    assert parts({"vgcu": 1, "vgcu-percentage": 25}, 32768 * MI) == [(0, 8192 * MI)]
    ((_, all_of_it),) = parts({"vgcu": 1, "vgcu-percentage": 100}, 1000 * MI + 1)
    assert all_of_it == 1000 * MI + 1, "rounded up to whole MiB, no card would have as much"


def test_a_family_without_parameters_gets_none_whatever_the_environment_says():
    source = pod({"amd.com/gpu": "1"})
    source["spec"]["containers"][0]["env"] = [{"name": "GPU_CORE_UTILIZATION_POLICY", "value": "disable"}]
    (claim,) = convert(source, "ml", SETTINGS, Surroundings()).claims.values()
    assert "config" not in claim["devices"]


def test_as_many_slices_as_a_card_has_fit_on_it():
    ((cores, memory),) = parts({"drs-gcu": 1}, 16384 * MI)
    assert 6 * cores <= 100
    assert 6 * memory <= 16384 * MI
    assert 6 * memory > 0.9 * 16384 * MI


def test_a_chips_own_resource_means_that_chip():
    expressions = selectors(asked({"huawei.com/Ascend910B3": 1}))
    assert 'productName.lowerAscii().contains("ascend910b3")' in expressions[1]


def test_a_chip_is_not_taken_for_another_whose_name_begins_as_its_own():
    expressions = selectors(asked({"huawei.com/Ascend910B4": 1}))
    assert any(each.startswith("!(") and '"ascend910b4-1"' in each for each in expressions)


def test_uuid_and_type_are_chosen_by_the_familys_annotations():
    expressions = selectors(
        asked({"amd.com/gpu": 1}, {"amd.com/use-gputype": "MI300", "amd.com/nouse-gpu-uuid": "GPU-1"})
    )
    assert any('contains("mi300")' in expression for expression in expressions)
    assert any(expression.startswith("!") and "GPU-1" in expression for expression in expressions)
    assert len(selectors(asked({"amd.com/gpu": 1}, {"nvidia.com/use-gputype": "A10"}))) == 1


def test_a_chips_own_annotation_chooses_among_its_chips():
    chosen = selectors(asked({"huawei.com/Ascend910B3": 1}, {"hami.io/use-Ascend910B3-uuid": "NPU-1"}))
    assert any("NPU-1" in expression for expression in chosen)
    other = selectors(asked({"huawei.com/Ascend910B3": 1}, {"hami.io/use-Ascend310P-uuid": "NPU-1"}))
    assert not any("NPU-1" in expression for expression in other)


def test_several_devices_of_a_family_are_different_ones():
    source = pod({"huawei.com/Ascend910B3": "2"})
    (claim,) = convert(source, "ml", SETTINGS, Surroundings()).claims.values()
    assert claim["devices"]["constraints"][0]["distinctAttribute"] == "ascend.project-hami.io/uuid"


def test_containers_of_one_pod_may_have_different_families():
    source = pod({"nvidia.com/gpu": "1"})
    source["spec"]["containers"].append(
        {"name": "npu", "image": "x", "resources": {"limits": {"huawei.com/Ascend910B3": "1"}}}
    )
    made = convert(source, "ml", SETTINGS, Surroundings())
    classes = {
        name: claim["devices"]["requests"][0]["exactly"]["deviceClassName"]
        for name, claim in made.claims.items()
    }
    assert classes == {
        "ml-train-cuda": "hami-core-gpu.project-hami.io",
        "ml-train-npu": "ascend.project-hami.io",
    }


def test_one_container_with_two_families_is_refused_with_what_to_do():
    with pytest.raises(RequestDenied, match="keep one"):
        asked({"nvidia.com/gpu": 1, "huawei.com/Ascend910B3": 1})
