from hami_dra.model import names
from hami_dra.observe import allocation_metrics
from hami_dra.observe.cluster import describe
from hami_dra.observe.waiting import Objects

GIB = 1024**3


def slice_of(node, memory="20Gi", generation=1):
    device = {
        "name": "hami-gpu-0",
        "allowMultipleAllocations": True,
        "attributes": {
            "uuid": {"string": "GPU-1"},
            "minor": {"int": 0},
            "productName": {"string": "NVIDIA A10"},
        },
        "capacity": {"memory": {"value": memory}, "cores": {"value": "100"}},
    }
    pool = {"name": node, "generation": generation}
    spec = {"driver": names.DRIVER, "nodeName": node, "pool": pool, "devices": [device]}
    return {"spec": spec}


def claim(*pods, node="a", memory="10Gi", cores="50"):
    result = {
        "driver": names.DRIVER,
        "pool": node,
        "device": "hami-gpu-0",
        "consumedCapacity": {"memory": memory, "cores": cores},
    }
    return {
        "metadata": {"namespace": "ml", "name": "half"},
        "spec": {"devices": {"requests": [{"exactly": {"deviceClassName": names.DRIVER}}]}},
        "status": {
            "allocation": {"devices": {"results": [result]}},
            "reservedFor": [{"name": name} for name in pods],
        },
    }


def scrape(slices, claims, legacy=False, pods=(), classes=(names.DRIVER,)):
    nodes = [{"metadata": {"name": "a", "labels": {"gpu": "on"}}}]
    cluster = describe(
        Objects(
            list(pods),
            claims,
            slices,
            nodes,
            [{"metadata": {"name": name}} for name in classes],
            names.NVIDIA_RESOURCES,
        )
    )
    lines = "".join(allocation_metrics.text(cluster, {}, legacy=legacy)).splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


CARD = '{node="a",device_uuid="GPU-1",device_index="0",device_name="hami-gpu-0",device_type="NVIDIA A10"}'


def test_a_slice_of_an_earlier_generation_is_no_card_more():
    """While a pool is written anew there are slices of both."""
    for order in (1, -1):
        found = scrape([slice_of("a", "24Gi", 1), slice_of("a", "20Gi", 2)][::order], [claim()])
        assert found['hami_dra_node_gpus{node="a"}'] == "1"
        assert float(found[f"hami_dra_gpu_memory_limit_bytes{CARD}"]) == 20 * GIB


def test_a_card_shows_its_size_and_what_is_allocated_of_it():
    series = scrape([slice_of("a")], [claim("one"), claim("two", memory="5Gi", cores="20")])
    assert float(series[f"hami_dra_gpu_memory_limit_bytes{CARD}"]) == 20 * GIB
    assert float(series[f"hami_dra_gpu_memory_allocated_bytes{CARD}"]) == 15 * GIB
    assert float(series[f"hami_dra_gpu_core_allocated_ratio{CARD}"]) == 0.7


def test_an_idle_card_shows_zero_and_no_pods():
    series = scrape([slice_of("a")], [])
    assert float(series[f"hami_dra_gpu_memory_allocated_bytes{CARD}"]) == 0
    assert not [name for name in series if "vgpu" in name or "namespace" in name]


def test_a_device_that_is_not_shared_is_taken_as_a_whole():
    """A whole card of another family, and an instance of MIG that was made for the claim."""
    taken = claim("one")
    del taken["status"]["allocation"]["devices"]["results"][0]["consumedCapacity"]
    for cut_from in ([], [{"counterSet": "hami-gpu-0", "counters": {}}]):
        published = slice_of("a")
        (device,) = published["spec"]["devices"]
        del device["allowMultipleAllocations"]
        device["consumesCounters"] = cut_from
        series = scrape([published], [taken])
        assert float(series[f"hami_dra_gpu_memory_allocated_bytes{CARD}"]) == 20 * GIB
        assert float(series[f"hami_dra_gpu_core_allocated_ratio{CARD}"]) == 1
        assert float(series['hami_dra_node_largest_free_memory_bytes{node="a"}']) == 0
        assert (f"hami_dra_gpu_shares{CARD}" in scrape([published], [])) != bool(cut_from)


def test_a_claim_of_two_pods_counts_once_for_the_card_and_is_shown_for_each():
    series = scrape([slice_of("a")], [claim("one", "two")])
    assert float(series[f"hami_dra_gpu_memory_allocated_bytes{CARD}"]) == 10 * GIB
    for name in ("one", "two"):
        labels = f'{{namespace="ml",pod="{name}",node="a",device_uuid="GPU-1"}}'
        assert float(series[f"hami_dra_vgpu_memory_allocated_bytes{labels}"]) == 10 * GIB


def test_the_older_names_come_in_mib_and_percent_when_asked_for():
    series = scrape([slice_of("a")], [claim("one")], legacy=True)
    (allocated,) = [value for name, value in series.items() if name.startswith("vGPUDeviceMemoryAllocated")]
    assert float(allocated) == 10240
    assert not [name for name in scrape([slice_of("a")], [claim("one")]) if name.startswith("vGPU")]


def test_dashboards_of_hamis_scheduler_find_their_names_in_base_units():
    series = scrape([slice_of("a")], [claim("one")], legacy=True)
    card = '{node="a",device_uuid="GPU-1",device_index="0",device_type="NVIDIA A10"}'
    assert float(series[f"hami_gpu_memory_allocated_bytes{card}"]) == 10 * GIB
    assert float(series[f"hami_node_gpu_memory_allocated_ratio{card}"]) == 0.5
    assert float(series[f"hami_gpu_shared_count{card}"]) == 1
    held = '{namespace="ml",pod="one",node="a",device_uuid="GPU-1"}'
    assert float(series[f"hami_vgpu_core_allocated_ratio{held}"]) == 0.5
    assert not [name for name in scrape([slice_of("a")], [claim("one")]) if name.startswith("hami_gpu_")]
