"""What a cache tells its listeners."""

import pytest

from hami_dra.kube import kinds
from hami_dra.kube.cache import Cache, Change
from tests.support.fake_kube import FakeKube


@pytest.fixture
def heard():
    return []


@pytest.fixture
def cache(heard):
    def named(item):
        return {"metadata": {key: item["metadata"][key] for key in ("namespace", "name", "labels")}}

    made = Cache(FakeKube(), kinds.PODS, keep=named)
    made.on_change(heard.append)
    return made


def event(cache, status, labels=None, kind="set"):
    item = {
        "metadata": {"namespace": "ml", "name": "train", "labels": labels or {}},
        "status": {"phase": status},
    }
    cache._apply(Change(kind, cache._keep(item)))


def test_a_change_of_what_is_not_held_is_told_to_nobody(cache, heard):
    for status in ("Pending", "Running", "Succeeded"):
        event(cache, status)
    assert len(heard) == 1
    event(cache, "Succeeded", {"a": "b"})
    assert len(heard) == 2


def test_an_object_that_comes_again_after_it_was_gone_is_told(cache, heard):
    event(cache, "Pending")
    event(cache, "Pending", kind="gone")
    assert cache.get("ml", "train") is None
    event(cache, "Pending")
    assert [change.type for change in heard] == ["set", "gone", "set"]
