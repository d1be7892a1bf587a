"""A Pod that waits for a share, and what is looked at to say why."""

from hami_dra.model import names
from hami_dra.model.explanation import View

CARD = {"memory": {"value": "23028Mi"}, "cores": {"value": "100"}}


def claim(memory="10Gi", cores="50", allocated_to=None, device="hami-gpu-0", device_class=names.DRIVER):
    made = {
        "spec": {
            "devices": {
                "requests": [
                    {
                        "name": "gpu",
                        "exactly": {
                            "deviceClassName": device_class,
                            "capacity": {"requests": {"memory": memory, "cores": cores}},
                        },
                    }
                ]
            }
        }
    }
    if allocated_to:
        result = {
            "driver": names.DRIVER,
            "pool": allocated_to,
            "device": device,
            "consumedCapacity": {"memory": memory, "cores": cores},
        }
        made["status"] = {"allocation": {"devices": {"results": [result]}}}
    return made


def slice_of(node):
    attributes = {"productName": "NVIDIA A10", "uuid": f"GPU-{node}", "type": "hami-gpu"}
    device = {
        "name": "hami-gpu-0",
        "allowMultipleAllocations": True,
        "attributes": {key: {"string": value} for key, value in attributes.items()},
        "capacity": CARD,
    }
    return {"spec": {"driver": names.DRIVER, "pool": {"name": node}, "devices": [device]}}


def waiting_pod(spec, **labels):
    return {"metadata": {"name": "train", "namespace": "ml", "labels": labels}, "spec": spec}


CLAIMS = {"resourceClaims": [{"name": "gpu", "resourceClaimName": "half"}]}
WAITING = View(
    pod={
        "metadata": {"name": "train", "namespace": "ml"},
        "spec": CLAIMS,
        "status": {"phase": "Pending"},
    },
    claims=[claim()],
    events=[],
    slices=[slice_of("a")],
    all_claims=[],
    nodes=[{"metadata": {"name": "a", "labels": {"gpu": "on"}}}],
    classes=[{"metadata": {"name": names.DRIVER}}],
)
