"""A controller, what it watches, and an API that it works on."""

import threading

import pytest

from hami_dra.admission.controller import ClaimController, Watched
from hami_dra.admission.patch import Surroundings, convert
from hami_dra.admission.settings import Settings
from hami_dra.kube import kinds
from hami_dra.kube.cache import Cache
from hami_dra.kube.protocol import WatchEvent
from hami_dra.model import names
from tests.support.fake_kube import FakeKube
from tests.unit.admission.pods import gpu, pod


@pytest.fixture
def kube():
    return FakeKube()


@pytest.fixture
def watched(kube):
    return Watched(
        *(Cache(kube, kind) for kind in (kinds.PODS, kinds.RESOURCE_CLAIMS, kinds.RESOURCE_CLAIM_TEMPLATES))
    )


@pytest.fixture
def pods(watched):
    return watched.pods


@pytest.fixture
def controller(kube, watched):
    return ClaimController(kube, watched, {names.DRIVER})


@pytest.fixture
def admit(kube, pods):
    """Create a Pod as it comes out of admission."""

    def create(**kwargs):
        made = convert(pod(gpu(gpu=1, gpumem=1024), **kwargs), "ml", Settings(), Surroundings()).pod
        made["metadata"].setdefault("namespace", "ml")
        stored = kube.create(kinds.PODS, made, "ml")
        pods.take(WatchEvent("MODIFIED", stored))
        return stored

    return create


@pytest.fixture
def running(kube, watched, controller):
    """The controller at work on what it watches."""
    stopping = threading.Event()
    caches = (watched.pods, watched.claims, watched.templates)
    for cache in caches:
        cache.start()
        assert cache.synced.wait(60)
    thread = threading.Thread(target=controller.run, args=[stopping])
    thread.start()
    yield
    stopping.set()
    for cache in caches:
        cache.stop()
    kube.end_watches()
    thread.join(5)


@pytest.fixture
def elsewhere(kube, watched):
    """A controller that watches Pods which another replica has admitted."""
    stopping = threading.Event()
    other = ClaimController(kube, watched, {names.DRIVER}, lambda pod: False)
    thread = threading.Thread(target=other.run, args=[stopping])
    thread.start()
    yield
    stopping.set()
    thread.join(5)
