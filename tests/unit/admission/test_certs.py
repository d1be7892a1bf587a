"""The webhook's certificate: renewed in time, agreed between replicas, and trusted before it is served."""

import asyncio
import base64
import datetime
import itertools
from types import SimpleNamespace

import pytest

from hami_dra import http_server
from hami_dra.admission import authority, certs
from hami_dra.kube import kinds
from hami_dra.model import errors
from tests.support.fake_kube import FakeKube

NOW = datetime.datetime.now(datetime.UTC)
HOSTS = ["hook.ns.svc", "hook.ns.svc.cluster.local", "hook"]
DAY = datetime.timedelta(days=1)


def test_a_serving_certificate_is_renewed_before_its_end_by_the_same_ca():
    first = authority.renew(None, HOSTS, NOW)
    assert authority.renew(first, HOSTS, NOW) == first
    later = authority.renew(first, HOSTS, NOW + 340 * DAY)
    assert later.ca == first.ca
    assert later.serving != first.serving


def test_a_ca_is_renewed_before_it_is_outlived_by_what_it_signs_and_the_former_stays_trusted():
    first = authority.renew(None, HOSTS, NOW)
    later = authority.renew(first, HOSTS, NOW + 3300 * DAY)
    assert later.ca.key != first.ca.key
    assert later.ca.certificate.endswith(first.ca.certificate)
    assert later.ca.certificate.count(b"BEGIN CERTIFICATE") == 2
    much_later = authority.renew(later, HOSTS, NOW + 6600 * DAY)
    assert much_later.ca.certificate.count(b"BEGIN CERTIFICATE") == 2


def test_a_chain_that_is_half_written_is_not_taken_up_and_the_next_one_is(tmp_path):
    good = authority.renew(None, HOSTS, NOW).serving
    half = authority.Pair(good.certificate + good.certificate[:100], good.key)
    written = itertools.chain([half], itertools.repeat(good))
    files = certs.write(good, tmp_path)

    def renewed():
        certs.write(next(written), tmp_path)
        return True

    async def first_that_is_taken_up():
        taken_up = asyncio.Queue()
        context = SimpleNamespace(load_cert_chain=lambda chain, key: taken_up.put_nowait(chain.read_bytes()))
        server = SimpleNamespace(config=SimpleNamespace(ssl=context))
        renewal = asyncio.create_task(
            http_server._renew(server, http_server.Tls(*files, renewed, every_s=0.001))
        )
        chain = await asyncio.wait_for(taken_up.get(), 10)
        renewal.cancel()
        return chain

    assert asyncio.run(first_that_is_taken_up()) == good.certificate


def test_files_that_do_not_belong_together_are_not_served(tmp_path):
    first, second = (authority.renew(None, HOSTS, NOW).serving for _ in range(2))
    certs.write(first, tmp_path)
    assert certs.FileSource(tmp_path).current() == first
    certs.write(authority.Pair(second.certificate, first.key), tmp_path)
    with pytest.raises(errors.StateError, match="do not belong together"):
        certs.FileSource(tmp_path).current()
    (tmp_path / "tls.key").unlink()
    with pytest.raises(errors.StateError, match="no serving certificate"):
        certs.FileSource(tmp_path).current()


def test_a_renamed_service_gets_a_certificate_for_its_new_name():
    first = authority.renew(None, HOSTS, NOW)
    renamed = authority.renew(first, ["other.ns.svc"], NOW)
    assert renamed.ca == first.ca
    assert renamed.serving != first.serving


class Kube(FakeKube):
    """With the JSON patches that put the CA into webhook configurations."""

    def patch(self, kind, name, body, namespace=None, *, type="merge", subresource=""):
        assert type == "json"
        stored = self.get(kind, name)
        for step in body:
            index = int(step["path"].split("/")[2])
            stored["webhooks"][index]["clientConfig"]["caBundle"] = step["value"]
        return self.replace(kind, stored)


@pytest.fixture
def kube():
    kube = Kube()
    kube.create(kinds.SECRETS, {"metadata": {"name": "tls"}, "data": {}}, "ns")
    for kind in (kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS):
        webhooks = [{"name": "a", "clientConfig": {}}, {"name": "b", "clientConfig": {}}]
        kube.create(kind, {"metadata": {"name": "config"}, "webhooks": webhooks})
    return kube


def source(kube):
    return certs.SecretSource(kube, "ns", "tls", "hook", "config")


def trusted(kube):
    return {
        webhook["clientConfig"]["caBundle"]
        for kind in (kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS)
        for webhook in kube.get(kind, "config")["webhooks"]
    }


def secret(kube, name):
    return base64.b64decode(kube.get(kinds.SECRETS, "tls", "ns")["data"][name])


def test_two_replicas_agree_on_one_certificate_that_every_webhook_trusts(kube):
    first, second = source(kube), source(kube)
    assert first.current() == second.current()
    assert trusted(kube) == {base64.b64encode(secret(kube, "ca.crt")).decode()}


def test_validation_may_be_switched_off(kube):
    kube.delete(kinds.VALIDATING_WEBHOOKS, "config")
    assert source(kube).current()


@pytest.mark.parametrize("lost", ["everything", "ca.crt", "ca.key", "tls.crt", "tls.key"])
def test_a_lost_or_damaged_secret_gets_back_what_is_served(kube, lost):
    replica = source(kube)
    before = replica.current()
    stored = kube.get(kinds.SECRETS, "tls", "ns")
    damaged = {} if lost == "everything" else stored["data"] | {lost: "bm9uZQ=="}
    kube.replace(kinds.SECRETS, stored | {"data": damaged}, "ns")
    assert replica.current() == before
    assert kube.get(kinds.SECRETS, "tls", "ns")["data"] == stored["data"]


def test_keys_of_another_certificate_are_damage(kube):
    replica = source(kube)
    before = replica.current()
    stored = kube.get(kinds.SECRETS, "tls", "ns")
    data = stored["data"]
    kube.replace(kinds.SECRETS, stored | {"data": data | {"tls.key": data["ca.key"]}}, "ns")
    assert replica.current() == before


def test_what_a_new_ca_signed_is_served_only_after_every_api_server_can_have_learned_of_it(kube, monkeypatch):
    replica, other = source(kube), source(kube)
    before = replica.current()
    assert other.current() == before
    old = certs.decode(kube.get(kinds.SECRETS, "tls", "ns")["data"])
    new = authority.renew(None, HOSTS, datetime.datetime.now(datetime.UTC))
    both = authority.Bundle(authority.Pair(new.ca.certificate + old.ca.certificate, new.ca.key), new.serving)
    kube.replace(kinds.SECRETS, kube.get(kinds.SECRETS, "tls", "ns") | {"data": certs.encode(both)}, "ns")
    assert replica.current() == before, "trusted first"
    assert trusted(kube) == {base64.b64encode(both.ca.certificate).decode()}
    monkeypatch.setattr(certs, "SETTLE", datetime.timedelta(0))
    assert replica.current() == new.serving
    assert other.current() == new.serving
