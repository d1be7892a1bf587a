"""Devices of every family are told, each with its own share of memory and compute."""

from hami_dra.node.slices import resource_slice
from hami_dra.observe.allocation import allocations, cards
from tests.support import trees
from tests.support.cards import A10, NODE, claim, share

NEURON = "neuron.project-hami.io"


def published():
    neuron = trees.backend("neuron")
    return [
        resource_slice(NODE, NEURON, neuron.discover()),
        resource_slice(NODE, "hami-core-gpu.project-hami.io", [A10]),
        {"spec": {"driver": "gpu.nvidia.com", "pool": {"name": NODE}, "devices": [{"name": "gpu-0"}]}},
    ]


def test_cards_of_all_families_are_told_nvidias_first():
    found = cards(published())
    assert [card.device for card in found][:3] == ["hami-gpu-0", "neuron-0", "neuron-1"]
    assert (len(found), found[2].product, found[2].index) == (9, "Trainium1", 1)


def test_cores_that_a_family_counts_are_told_in_percent():
    half = share(device="neuron-1") | {"driver": NEURON, "consumedCapacity": {"cores": "1"}}
    (told,) = allocations(cards(published()), [claim("half", half)])
    assert (told.card.cores, told.cores, told.memory) == (100, 50, 0)
