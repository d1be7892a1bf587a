"""Devices of every family are told, each with its own share of memory and compute."""

from hami_dra.devices.nvidia import capacities
from hami_dra.model.device import Device, Parts
from hami_dra.model.share import Share
from hami_dra.node.slices import resource_slice
from hami_dra.observe.allocation import allocations, cards
from hami_dra.observe.cluster import describe
from hami_dra.observe.device_usage import DeviceUsage
from hami_dra.observe.holders import Grant
from hami_dra.observe.waiting import Objects
from tests.support import trees
from tests.support.cards import A10, NODE, claim, share

NEURON = "neuron.project-hami.io"
GPU = "hami-core-gpu.project-hami.io"


def published():
    neuron = trees.backend("neuron")
    return [
        resource_slice(NODE, NEURON, neuron.discover()),
        resource_slice(NODE, "hami-core-gpu.project-hami.io", [A10]),
        {"spec": {"driver": "gpu.nvidia.com", "pool": {"name": NODE}, "devices": [{"name": "gpu-0"}]}},
    ]


def test_cards_of_all_families_are_told_family_by_family():
    found = cards(reversed(published()))
    assert [card.device for card in found][:3] == ["hami-gpu-0", "neuron-0", "neuron-1"]
    assert (len(found), found[2].product, found[2].index) == (9, "Trainium1", 1)


def test_of_what_a_card_may_be_cut_into_only_what_is_allocated_is_told():
    parts = [
        Device(
            f"hami-mig-1-{at}",
            f"GPU-{at}",
            A10.attributes,
            capacities(6 << 30),
            shared=False,
            parts=Parts("c", (at,), 4),
        )
        for at in range(4)
    ]
    slices = [resource_slice(NODE, GPU, [A10, *parts])]
    had = {"device": "hami-mig-1-2", "driver": GPU, "pool": NODE, "request": "r"}
    found = describe(Objects([], [claim("a", had)], slices, [], []))
    assert [(use.card.device, use.memory >> 30, use.cores) for use in found.cards] == [
        ("hami-gpu-0", 0, 0),
        ("hami-mig-1-2", 6, 100),
    ]


def test_cores_that_a_family_counts_are_told_in_percent():
    half = share(device="neuron-1") | {"driver": NEURON, "consumedCapacity": {"cores": "1"}}
    (told,) = allocations(cards(published()), [claim("half", half)])
    assert (told.card.cores, told.cores, told.memory) == (100, 50, 0)


def test_what_a_family_says_of_its_devices_stands_under_the_cards_names(tmp_path):
    tree = trees.copy_of(trees.MIXED, tmp_path)
    (tree / "sys/bus/pci/devices/0000:25:00.0/vendor").write_text("gone")
    text = DeviceUsage("n1", [trees.backend("amd", tree)]).text()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    first, second = (
        f'{{node="n1",device_index="{index}",device_uuid="{uuid}",device_type="AMD Instinct MI300X"}}'
        for index, uuid in ((128, "GPU-0027525460aa64c2"), (136, "GPU-0027525460aa64c3"))
    )
    assert float(samples[f"hami_host_gpu_memory_used_bytes{first}"]) == 300000000
    assert float(samples[f"hami_host_gpu_utilization_ratio{second}"]) == 0.1
    assert float(samples[f"hami_host_gpu_healthy{first}"]) == 1
    assert float(samples[f"hami_host_gpu_healthy{second}"]) == 0


def test_a_host_that_does_not_answer_hides_no_other_family(tmp_path):
    """As a stale mount. Here its root has a name that is too long for the kernel."""
    stale, there = trees.backend("neuron", tmp_path / ("x" * 300)), trees.backend("amd", trees.MIXED)
    assert 'device_type="AMD Instinct MI300X"' in DeviceUsage("n1", [stale, there]).text()


def shares_of(*asked):
    return lambda: [
        Share(f"id-{at}", "r", NODE, device, "GPU-x", amounts) for at, (device, amounts) in enumerate(asked)
    ]


def samples_of(text):
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_a_share_that_has_its_device_to_itself_uses_what_the_device_uses():
    gib = 1 << 30
    shares = shares_of(
        ("amd-128", {"cores": 25, "memory": gib}), ("amd-136", {"cores": 0, "memory": 2 * gib})
    )
    grants = [Grant("ml", "train", "main", "c", "amd-136", "id-1")]
    text = DeviceUsage("n1", [trees.backend("amd")], [shares], lambda: grants).text()
    samples = samples_of(text)
    first = '{namespace="",pod="",container="",vdevice_index="",device_uuid="GPU-x",node="n1",share="id-0"}'
    second = (
        '{namespace="ml",pod="train",container="main",vdevice_index="0",'
        'device_uuid="GPU-x",node="n1",share="id-1"}'
    )
    assert float(samples[f"hami_vgpu_memory_limit_bytes{first}"]) == gib
    assert float(samples[f"hami_vgpu_core_limit_ratio{first}"]) == 0.25
    assert float(samples[f"hami_vgpu_core_limit_ratio{second}"]) == 1.0
    assert float(samples[f"hami_vgpu_memory_used_bytes{second}"]) == 300000000
    assert float(samples[f"hami_container_device_utilization_ratio{second}"]) == 0.1


def test_of_two_shares_of_a_device_nobody_knows_which_uses_what():
    both = shares_of(("amd-128", {"cores": 25, "memory": 1}), ("amd-128", {"cores": 25, "memory": 1}))
    text = DeviceUsage("n1", [trees.backend("amd")], [both]).text()
    assert text.count("hami_vgpu_memory_limit_bytes{") == 2
    assert "hami_vgpu_memory_used_bytes{" not in text


def test_a_share_of_a_family_without_cores_or_use_tells_its_memory_alone():
    text = DeviceUsage(
        "n1", [trees.backend("ascend")], [shares_of(("ascend-1", {"memory": 32 << 30}))]
    ).text()
    assert text.count("hami_vgpu_memory_limit_bytes{") == 1
    assert "hami_vgpu_core_limit_ratio{" not in text


def test_a_family_that_says_nothing_of_use_still_tells_its_devices():
    text = DeviceUsage("n1", [trees.backend("ascend")]).text()
    assert text.count("hami_host_gpu_healthy{") == 8
    assert "hami_host_gpu_memory_used_bytes{" not in text
