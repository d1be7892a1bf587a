"""What a cache tells its listeners."""

import time

import pytest

from hami_dra.kube import cache as caches
from hami_dra.kube import kinds
from hami_dra.kube.cache import Cache
from hami_dra.kube.protocol import WatchEvent
from hami_dra.model import errors
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


def test_it_knows_when_the_api_server_was_last_heard(cache):
    """A bookmark says that nothing has changed: what is held is as fresh as after an event."""
    assert cache.heard_at == 0
    before = time.time()
    cache.take(WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "7"}}))
    assert before <= cache.heard_at <= time.time()


class Away(FakeKube):
    """An API server that answers the first list, and behind whose proxy every watch ends at once."""

    watches = lists = 0

    def list(self, *about, **selectors):
        self.lists += 1
        if self.lists > 1:
            raise errors.Unavailable("away")
        return super().list(*about, **selectors)

    def watch(self, *about, **selectors):
        self.watches += 1
        return iter(())


def test_an_api_server_that_is_away_is_not_heard_nor_asked_without_a_pause(monkeypatch):
    monkeypatch.setattr(caches, "RETRY_AFTER_S", 0.01)
    kube = Away()
    cache = Cache(kube, kinds.PODS)
    cache.start()
    until(lambda: kube.lists > 1, "it is asked again")
    listed_at = cache.heard_at
    until(lambda: kube.lists > 3, "and again")
    assert cache.heard_at == listed_at > 0
    assert kube.watches == 1
    cache.stop()


class Behind(FakeKube):
    """An API server to which every version is too old, as to one whose watch cache is not filled yet."""

    watches = 0

    def watch(self, *about, **selectors):
        self.watches += 1
        raise errors.Gone("too old resource version", status=410)


def test_whoever_is_told_to_list_again_does_so_with_a_pause(monkeypatch):
    monkeypatch.setattr(caches, "RETRY_AFTER_S", 60.0)
    kube = Behind()
    cache = Cache(kube, kinds.PODS)
    cache.start()
    until(lambda: kube.watches, "it watches")
    time.sleep(0.1)
    assert kube.watches == 1
    cache.stop()


def test_what_went_while_the_watch_was_broken_is_told_as_gone(heard, monkeypatch):
    monkeypatch.setattr(caches, "RETRY_AFTER_S", 0.01)
    kube = FakeKube()
    for name in ("stays", "goes"):
        kube.create(kinds.PODS, {"metadata": {"name": name}}, "ml")
    cache = Cache(kube, kinds.PODS)
    cache.on_change(heard.append)
    cache.start()
    until(lambda: len(heard) == 2, "the first list")
    stays = kube.get(kinds.PODS, "stays", "ml")
    kube.lose(kinds.PODS)
    kube.put(kinds.PODS, "ml", "stays", stays)
    for name in ("a", "b"):
        kube.create(kinds.NODES, {"metadata": {"name": name}})
    kube.forget_history()
    kube.end_watches()
    until(lambda: len(heard) == 3, "that one is gone")
    assert (heard[2].type, heard[2].object["metadata"]["name"]) == ("gone", "goes")
    assert [item["metadata"]["name"] for item in cache.all()] == ["stays"]
    cache.stop()
    kube.end_watches()
