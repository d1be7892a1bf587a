"""Pods for the tests of admission."""


def pod(limits=None, name="train", **spec):
    """A Pod with one container `cuda`."""
    resources = {"limits": limits} if limits else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "ml"} if name else {"generateName": "train-"},
        "spec": {"containers": [{"name": "cuda", "image": "x", "resources": resources}], **spec},
    }


def gpu(**amounts):
    """Limits by short names: gpu(gpu=1, gpumem=1024)."""
    return {f"nvidia.com/{key.replace('_', '-')}": str(value) for key, value in amounts.items()}
