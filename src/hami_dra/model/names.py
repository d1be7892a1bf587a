"""Names that are part of the system's contract with its users (docs/interfaces.md)."""

DRIVER = "hami-core-gpu.project-hami.io"
"""DRA driver, DeviceClass, and the domain of our attributes."""

DOMAIN = ".project-hami.io"
"""How the drivers of all families end, NVIDIA's as well."""

DEVICE_TYPE = "hami-gpu"
"""Value of the attribute `type` of a card that is shared by memory and cores."""

MIG_TYPE = "hami-mig"
"""The same of a MIG instance: a card is either published whole or by its instances."""

MIG_CLASS = "hami-core-mig.project-hami.io"
"""DeviceClass of MIG instances: who asks for a card must not get a slice of one by surprise."""

NODE_LABELS = "gpu=on"
"""Of the nodes that NVIDIA's plugin is to run on, unless the operator has named others; a label selector."""

NAMESPACE = "hami-system"
"""Where the release is, unless the operator has named another."""

RELEASE = "hami"
"""The same of its name."""

GATE = "DRAConsumableCapacity"
"""Feature gate of the API server, the scheduler and kubelet without which no card can be shared."""

REQUEST = "gpu"
"""Name of the request in the claims that admission makes."""

NVIDIA_RESOURCES = (
    "nvidia.com/gpu",
    "nvidia.com/gpumem",
    "nvidia.com/gpumem-percentage",
    "nvidia.com/gpucores",
    "nvidia.com/priority",
)
"""Extended resources that stand for a share of a card, unless the operator has renamed them: count, memory in
MiB, memory in percent, cores, priority."""

CONVERTED_LABEL = "hami.io/dra"
CLAIMS_ANNOTATION = "hami.io/claims"
RESOURCES_ANNOTATION = "hami.io/resources"
ASKED_MEMORY = "hami.io/gpumem"
ASKED_CORES = "hami.io/gpucores"
MANAGED_BY = {"app.kubernetes.io/managed-by": "hami-dra"}

MIB = 1024 * 1024


def is_ours(driver: str) -> bool:
    """Whether a DRA driver is one of our families."""
    return driver.endswith(DOMAIN)
