"""What a cache tells its listeners."""

import pytest

from hami_dra.kube import cache as caches
from hami_dra.kube import kinds
from hami_dra.kube.cache import Cache
from hami_dra.kube.client import WatchEvent
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until


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


def event(cache, status, labels=None, kind="MODIFIED"):
    item = {
        "metadata": {"namespace": "ml", "name": "train", "labels": labels or {}},
        "status": {"phase": status},
    }
    cache.take(WatchEvent(kind, item))


def test_a_change_of_what_is_not_held_is_told_to_nobody(cache, heard):
    for status in ("Pending", "Running", "Succeeded"):
        event(cache, status)
    assert len(heard) == 1
    event(cache, "Succeeded", {"a": "b"})
    assert len(heard) == 2


def test_an_object_that_comes_again_after_it_was_gone_is_told(cache, heard):
    event(cache, "Pending")
    event(cache, "Pending", kind="DELETED")
    assert cache.get("ml", "train") is None
    event(cache, "Pending")
    assert [change.type for change in heard] == ["set", "gone", "set"]


class Garbled(FakeKube):
    """An API server behind a proxy that once answers something else."""

    answered = False

    def list(self, *about, **selectors):
        if not self.answered:
            self.answered = True
            raise ValueError("JSON is malformed")
        return super().list(*about, **selectors)


def test_an_answer_that_nobody_expects_does_not_end_the_cache(monkeypatch):
    monkeypatch.setattr(caches, "RETRY_AFTER_S", 0.01)
    kube = Garbled()
    cache = Cache(kube, kinds.PODS)
    cache.start()
    until(cache.synced.is_set, "the first list")
    kube.create(kinds.PODS, {"metadata": {"name": "train"}}, "ml")
    until(lambda: cache.get("ml", "train"), "the Pod")
    cache.stop()
    kube.end_watches()
