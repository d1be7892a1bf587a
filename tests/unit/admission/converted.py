"""Converted Pods in the API, and what the controller made for them."""

from hami_dra.admission.patch import Surroundings, convert
from hami_dra.admission.settings import Settings
from hami_dra.kube import kinds
from tests.unit.admission.pods import gpu, pod


def claims(kube, name=""):
    return [item for item in kube.list(kinds.RESOURCE_CLAIMS)[0] if name in item["metadata"]["name"]]


def store(kube, **kwargs):
    """A Pod as it comes out of admission, in the API alone: the controller learns of it by its watch."""
    made = convert(pod(gpu(gpu=1, gpumem=1024), **kwargs), "ml", Settings(), Surroundings()).pod
    return kube.create(kinds.PODS, made, "ml")


def creations(kube, kind):
    return [name for verb, plural, name in list(kube.calls) if (verb, plural) == ("create", kind.plural)]
