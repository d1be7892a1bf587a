"""Opaque parameters: each mistake is named with its place, and the claim has the last word over its class."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hami_dra.model.parameters import (
    API_VERSION,
    KIND,
    ShareParameters,
    allocation_problems,
    claim_problems,
    effective,
    problems,
)

HEAD = {"apiVersion": API_VERSION, "kind": KIND}
FULL = HEAD | {
    "priority": "high",
    "coresPolicy": "soft",
    "memoryOversubscription": True,
    "logLevel": 4,
    "enforcement": "limiter",
}


def config(source: str = "FromClaim", requests: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    opaque = {"driver": "hami-core-gpu.project-hami.io", "parameters": HEAD | fields}
    return {"source": source, "requests": requests or [], "opaque": opaque}


def test_every_field_arrives() -> None:
    assert problems(FULL, "p") == []
    got = effective([config(**{key: value for key, value in FULL.items() if key not in HEAD})], "gpu")
    assert got == ShareParameters("high", "soft", True, 4, "limiter")


def test_nothing_said_is_low_hard_and_limited() -> None:
    assert effective([], "gpu") == ShareParameters("low", "hard", False, None, "limiter")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"apiVersion": "hami-core-gpu.project-hami.io/v9"}, "p.apiVersion: "),
        ({"kind": "GpuConfig"}, "p.kind: 'GpuConfig' is not known. Write ShareParameters"),
        ({"prioritty": "high"}, "p.prioritty: unknown field. Known are priority,"),
        ({"priority": 0}, "p.priority: 0 is not allowed. Write high or low"),
        ({"coresPolicy": "HARD"}, "p.coresPolicy: 'HARD' is not allowed. Write hard or soft"),
        ({"memoryOversubscription": "true"}, "p.memoryOversubscription: 'true' is not allowed"),
        ({"logLevel": 5}, "p.logLevel: 5 is not allowed. Write 0 to 4"),
        ({"logLevel": True}, "p.logLevel: True is not allowed"),
        ({"enforcement": "off"}, "p.enforcement: 'off' is not allowed. Write limiter or none"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_to_write(change: dict[str, Any], said: str) -> None:
    (problem,) = problems(FULL | change, "p")
    assert str(problem).startswith(said)


def test_all_mistakes_are_listed_at_once() -> None:
    assert len(problems({"priority": "most", "logLevel": -1, "x": 1}, "p")) == 5


def test_only_a_device_class_may_take_the_limit_off() -> None:
    off = HEAD | {"enforcement": "none"}
    assert "DeviceClass" in str(problems(off, "p")[0])
    assert problems(off, "p", from_class=True) == []
    assert allocation_problems([config("FromClass", enforcement="none")]) == []
    (problem,) = allocation_problems([config(enforcement="none")])
    assert problem.where == "status.allocation.devices.config[0].opaque.parameters.enforcement"


def test_parameters_of_other_drivers_are_not_read() -> None:
    foreign = {"opaque": {"driver": "gpu.nvidia.com", "parameters": {"kind": "GpuConfig"}}}
    assert claim_problems({"devices": {"config": [foreign]}}) == []
    assert effective([foreign], "gpu") == ShareParameters()


def test_in_a_claim_the_path_leads_to_the_entry() -> None:
    (problem,) = claim_problems({"devices": {"config": [config(), config(logLevel=9)]}}, "spec.spec")
    assert problem.where == "spec.spec.devices.config[1].opaque.parameters.logLevel"


def test_the_claim_has_the_last_word_field_by_field() -> None:
    of_class = config("FromClass", priority="high", logLevel=1)
    assert effective([of_class, config(logLevel=3)], "gpu") == ShareParameters(priority="high", log_level=3)


def test_parameters_for_some_requests_reach_those_only() -> None:
    one = config(requests=["small"], priority="high")
    alternative = config(requests=["gpu/large"], coresPolicy="soft")
    assert effective([one, alternative], "small").priority == "high"
    assert effective([one, alternative], "other") == ShareParameters()
    assert effective([config(requests=["gpu"], priority="high")], "gpu/large").priority == "high"
    assert effective([one, alternative], "gpu/large").cores_policy == "soft"
    assert effective([one, alternative], "gpu/small") == ShareParameters()


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json | st.dictionaries(st.sampled_from(sorted(FULL)), json))
def test_whatever_is_written_is_either_fine_or_named(parameters: Any) -> None:
    found = problems(parameters, "p")
    if not found:
        opaque = {"driver": "hami-core-gpu.project-hami.io", "parameters": parameters}
        assert isinstance(effective([{"opaque": opaque}], "gpu"), ShareParameters)
