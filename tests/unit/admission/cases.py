"""The table of `cases/*.yaml`: each row a Pod and what becomes of it.

The expected claim is written out here from the row alone, without the code under test. The end-to-end suite
sends the same claims to a real API server.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from hami_dra.admission.patch import Surroundings
from hami_dra.admission.settings import Settings
from hami_dra.model.published import Card

DRIVER = "hami-core-gpu.project-hami.io"
ATTRIBUTES = f'device.attributes["{DRIVER}"]'
MIB = 1024 * 1024
FIELDS = {
    *("it", "limits", "requests", "containers", "init", "sidecars", "env", "annotations", "spec", "pod"),
    *("cards", "taken", "traditional", "extended"),
    *(
        "untouched",
        "denied",
        "share",
        "shares",
        "uses",
        "kept",
        "warnings",
        "claim",
        "template",
        "sums",
        "scheduler",
    ),
}


def load():
    """Every row, with the name of its file."""
    for path in sorted((Path(__file__).parent / "cases").glob("*.yaml")):
        for row in yaml.safe_load(path.read_text()):
            assert row.keys() <= FIELDS, f"{path.name}: {row['it']}: {row.keys() - FIELDS}"
            yield f"{path.stem}: {row['it']}", row


def pod(row):
    """The Pod of a row."""
    main = {"cuda": row.get("limits", {})} if "containers" not in row else row["containers"]
    containers = [_container(name, limits, row) for name, limits in main.items()]
    if "requests" in row:
        containers[0]["resources"]["requests"] = _named(row["requests"])
    sidecars = [
        _container(name, limits, {}) | {"restartPolicy": "Always"}
        for name, limits in row.get("sidecars", {}).items()
    ]
    before = [_container(name, limits, {}) for name, limits in row.get("init", {}).items()]
    metadata = dict(row.get("pod", {"name": "train"}))
    if "annotations" in row:
        metadata["annotations"] = {_full(key): value for key, value in row["annotations"].items()}
    spec = {"containers": containers} | row.get("spec", {})
    if sidecars or before:
        spec["initContainers"] = sidecars + before
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def settings(row):
    return Settings(extended_resource=row.get("extended", False))


def surroundings(row):
    taken = set(row.get("taken", []))
    return Surroundings(
        cards=[_card(text, at) for at, text in enumerate(row.get("cards", []))],
        claim=lambda namespace, name: {"spec": {}} if name in taken else None,
        traditional=row.get("traditional", ""),
    )


def shares(row):
    """Container -> its expected share."""
    return {"cuda": row["share"]} if "share" in row else row["shares"]


def claim_spec(share):
    """The claim that a share stands for, in full."""
    count = share.get("count", 1)
    selectors = [f'{ATTRIBUTES}.type == "hami-gpu"']
    for key in ("types", "not_types"):
        if key in share:
            name = f"{ATTRIBUTES}.productName.lowerAscii()"
            any_of = " || ".join(f"{name}.contains({_quoted(value)})" for value in share[key])
            selectors.append(any_of if key == "types" else f"!({any_of})")
    for key in ("uuids", "not_uuids"):
        if key in share:
            any_of = f"{ATTRIBUTES}.uuid in [{', '.join(_quoted(value) for value in share[key])}]"
            selectors.append(any_of if key == "uuids" else f"!({any_of})")

    def device(memory, *more):
        amounts = {"cores": str(share["cores"])} | (
            {} if memory == "whole" else {"memory": str(memory * MIB)}
        )
        return {
            "allocationMode": "ExactCount",
            "count": 1,
            "deviceClassName": DRIVER,
            "capacity": {"requests": amounts},
            "selectors": [{"cel": {"expression": text}} for text in [*selectors, *more]],
        }

    sized = (
        [("", device(share["memory"]))]
        if "memory" in share
        else [
            (
                f"size-{at}",
                device(
                    amount, f'device.capacity["{DRIVER}"].memory.compareTo(quantity("{size * MIB}")) == 0'
                ),
            )
            for at, (size, amount) in enumerate(share["sizes"].items())
        ]
    )
    if share.get("near"):
        sized = [(f"{word}-{name}".rstrip("-"), one) for word in ("near", "any") for name, one in sized]
    requests = ["gpu"] if count == 1 else [f"gpu-{at}" for at in range(count)]
    if sized[0][0]:
        asked = {"firstAvailable": [{"name": name} | one for name, one in sized]}
    else:
        asked = {"exactly": sized[0][1]}
    devices = {"requests": [{"name": name} | asked for name in requests]}
    constraints = []
    if share.get("distinct"):
        constraints.append({"distinctAttribute": f"{DRIVER}/uuid"})
    if "same" in share:
        constraints.append({"matchAttribute": share["same"]})
    if share.get("near"):
        near = [f"{request}/{name}" for request in requests for name, _ in sized if name.startswith("near")]
        constraints.append({"requests": near, "matchAttribute": "resource.kubernetes.io/pcieRoot"})
    if constraints:
        devices["constraints"] = constraints
    if "parameters" in share:
        body = {"apiVersion": f"{DRIVER}/v1", "kind": "ShareParameters"} | share["parameters"]
        devices["config"] = [{"opaque": {"driver": DRIVER, "parameters": body}}]
    return {"devices": devices}


def _container(name, limits, row):
    container = {"name": name, "image": "x", "resources": {"limits": _named(limits)} if limits else {}}
    if "env" in row:
        container["env"] = [{"name": key, "value": value} for key, value in row["env"].items()]
    return container


def _named(amounts):
    return {_full(key) if key not in ("cpu", "memory") else key: value for key, value in amounts.items()}


def _full(key):
    return key if "/" in key else f"nvidia.com/{key}"


def _card(text, at):
    """`PRODUCT MIB [ATTRIBUTE]`."""
    product, size, *more = text.split()
    attributes = {"type": "hami-gpu", "productName": product, "uuid": f"GPU-{at}"}
    return Card(
        driver=DRIVER,
        pool="node",
        name=f"hami-gpu-{at}",
        memory=int(size) * MIB,
        cores=100,
        attributes={key: {"string": value} for key, value in attributes.items()}
        | {key: {"int": 0} for key in more},
    )


def _quoted(text):
    return json.dumps(text, ensure_ascii=False)
