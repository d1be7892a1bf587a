"""Pods for the tests of admission."""

import base64
import json

from hami_dra.admission.patch import Surroundings, convert
from hami_dra.admission.settings import Settings

GIB = 1024**3
NOWHERE = Surroundings()


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


def converted(source, surroundings=NOWHERE):
    """What admission makes of SOURCE, which asks for a share."""
    made = convert(source, "ml", Settings(), surroundings)
    assert made is not None
    return made


def patched(source, answer):
    """SOURCE after the answer's JSON patch, applied by hand: all of its steps are `add` to an object."""
    result = json.loads(json.dumps(source))
    for step in json.loads(base64.b64decode(answer["patch"])):
        assert step["op"] == "add"
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"][1:].split("/")]
        at = result
        for part in path:
            at = at[int(part)] if isinstance(at, list) else at[part]
        at[last] = step["value"]
    return result
