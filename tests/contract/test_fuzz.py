"""Whatever kubelet or the API server hand in: an answer or a refusal, never a crash, never a free share."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hami_dra.kube import RESOURCE_CLAIMS
from hami_dra.model.claim import ClaimRef
from hami_dra.model.errors import HamiError
from hami_dra.model.names import DRIVER
from hami_dra.node.plugin import Plugin
from hami_dra.node.proto import dra_v1_pb2
from tests.contract.conftest import Start
from tests.support.cards import A10, SECOND, card_driver, claim, share
from tests.support.fake_kube import FakeKube

SERVICE = "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources"
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    ATOMS | st.sampled_from(["-1Gi", "1e99", "0", "23028Mi"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, each in inner for path in paths(each, (*at, key)))][bool(not at) :]


def put(body: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        body = body[key]
    body[path[-1]] = value


WHOLE = claim("c", share(), share("5Gi", "10", SECOND.name))
PARAMETERS = {"apiVersion": f"{DRIVER}/v1", "kind": "ShareParameters", "priority": "high"}
WHOLE["status"]["allocation"]["devices"]["config"] = [
    {"source": "FromClass", "requests": [], "opaque": {"driver": DRIVER, "parameters": PARAMETERS}}
]
WHOLE["metadata"]["uid"] = "a-uid"


@example([])
@given(st.lists(st.tuples(st.sampled_from(paths(WHOLE)), VALUES), max_size=3))
@settings(max_examples=150)
def test_a_claim_with_anything_in_any_place_is_granted_within_its_card_or_refused(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    body = copy.deepcopy(WHOLE)
    for path, value in changes:
        try:
            put(body, path, value)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    kube = FakeKube()
    kube.put(RESOURCE_CLAIMS, "default", "c", body)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        driver = card_driver(kube, folder, folder / "cdi", A10, SECOND)
        try:
            granted = driver.prepare(ClaimRef("default", "c", "a-uid"))
        except HamiError:
            assert changes, "a good claim is granted"
            assert driver.checkpoint.load() == {}
            assert driver.folders.ids() == set()
            assert not (folder / "cdi").exists()
            return
        (prepared,) = driver.checkpoint.load().values()
        assert len(granted) == len(prepared.shares) >= 1
        for one in prepared.shares:
            assert one.share_id
            assert 1 <= one.consumed["memory"] <= A10.capacity("memory")
            assert 0 <= one.consumed["cores"] <= 100
        assert {path.parent.name for path in folder.glob("shares/*/limits")} == driver.folders.ids()


@pytest.fixture
def plugin(start: Start) -> Plugin:
    return start()


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    st.binary(max_size=64)
    | st.lists(st.tuples(*[st.text(max_size=40)] * 3), max_size=4).map(
        lambda claims: dra_v1_pb2.NodePrepareResourcesRequest(
            claims=[dra_v1_pb2.Claim(namespace=space, name=name, uid=uid) for space, name, uid in claims]
        ).SerializeToString()
    )
)
def test_any_bytes_as_a_request_are_answered_or_refused_and_the_next_call_works(
    plugin: Plugin, data: bytes
) -> None:
    with grpc.insecure_channel(f"unix:{plugin.sockets.service}") as channel:
        call = channel.unary_unary(SERVICE, request_serializer=bytes, response_deserializer=bytes)
        try:
            answer = dra_v1_pb2.NodePrepareResourcesResponse.FromString(call(data, timeout=60))
        except grpc.RpcError as refused:
            assert refused.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)  # noqa: PT017
        else:
            assert all(each.error and not each.devices for each in answer.claims.values())
        assert call(b"", timeout=60) == b""
    assert plugin.driver.checkpoint.load() == {}
