"""Simulated nodes and cards: objects only, so Pods are scheduled to them and never started."""

from __future__ import annotations

from hami_dra.kube import kinds
from hami_dra.model import names

GIB = 1024**3
CARDS = {
    "small": [("NVIDIA A10", 24 * GIB, "pci0000:10"), ("NVIDIA A10", 24 * GIB, "pci0000:20")],
    "large": [
        ("NVIDIA A100-SXM4-80GB", 80 * GIB, "pci0000:10"),
        ("NVIDIA A100-SXM4-80GB", 80 * GIB, "pci0000:20"),
        ("NVIDIA A100-SXM4-80GB", 80 * GIB, "pci0000:10"),
    ],
}


def publish(client, node, cards):
    """A Node that is ready for Pods, and the slice of its cards as the plugin publishes it."""
    capacity = {"cpu": "64", "memory": "256Gi", "pods": "110"}
    labels = {"kubernetes.io/hostname": node, "gpu": "on"}
    client.create(kinds.NODES, {"metadata": {"name": node, "labels": labels}})
    status = {
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True", "reason": "x", "message": "x"}],
        }
    }
    client.patch(kinds.NODES, node, status, subresource="status")
    # Every new Node is tainted until a controller that does not run here finds it ready.
    client.patch(kinds.NODES, node, {"spec": {"taints": None}})
    for at, card in enumerate(cards):
        spec = {
            "driver": names.DRIVER,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": len(cards)},
            "devices": [device(node, at, *card)],
        }
        client.create(kinds.RESOURCE_SLICES, {"metadata": {"name": f"{node}-card-{at}"}, "spec": spec})


def device(node, at, product, memory, root):
    attributes = {"productName": product, "type": names.DEVICE_TYPE, "uuid": f"GPU-{node}-{at}"}
    attributes["resource.kubernetes.io/pcieRoot"] = root
    whole = f"{memory // 1024**2}Mi"
    return {
        "name": f"hami-gpu-{at}",
        "allowMultipleAllocations": True,
        "attributes": {key: {"string": value} for key, value in attributes.items()}
        | {"numaNode": {"int": at // 2}},
        "capacity": {
            "memory": {
                "value": whole,
                "requestPolicy": {
                    "default": whole,
                    "validRange": {"min": "1Mi", "max": whole, "step": "1Mi"},
                },
            },
            "cores": {
                "value": "100",
                "requestPolicy": {"default": "0", "validRange": {"min": "0", "max": "100", "step": "1"}},
            },
        },
    }
