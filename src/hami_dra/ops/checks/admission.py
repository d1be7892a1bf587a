"""Checks of the webhook's registration and of its certificate."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from hami_dra.kube.protocol import Object
from hami_dra.ops.checks.base import Check, Verdict, bad, command, doubtful, fine, logs, upgrade
from hami_dra.ops.facts import Facts, component

SOON = datetime.timedelta(days=14)
INJECTED = "cert-manager.io/inject-ca-from"
CERT_MANAGER = "cert-manager.io"


def _registration(facts: Facts) -> Verdict:
    ours = _ours(facts)
    if ours:
        return fine(ours[0]["metadata"]["name"])
    if not _deployment(facts):
        return fine("switched off in the chart's values")
    return bad("the webhook runs and is not registered", upgrade(facts.namespace, facts.release))


def _ca(facts: Facts) -> Verdict:
    """Is there a CA, and has it signed the certificate that the webhook shows?"""
    for item in _ours(facts):
        for hook in item.get("webhooks") or []:
            bundle = hook["clientConfig"].get("caBundle")
            if not bundle:
                return bad(f"no caBundle in {item['metadata']['name']}", logs("webhook", facts.namespace))
            try:
                trusted = x509.load_pem_x509_certificates(base64.b64decode(bundle))
            except ValueError:
                return bad("the caBundle is no certificate", _renew(facts))
            shown = _certificates(facts)
            if shown and not _trusts(trusted, shown):
                return bad("the caBundle did not sign the webhook's certificate", _renew(facts))
    return fine("signed the webhook's certificate")


def _certificate(facts: Facts) -> Verdict:
    shown = _certificates(facts)
    if not shown:
        if _deployment(facts):
            return bad("there is none", logs("webhook", facts.namespace))
        return fine("not needed without the webhook")
    left = shown[0].not_valid_after_utc - facts.now
    end = f"{shown[0].not_valid_after_utc:%Y-%m-%d}"
    if facts.now < shown[0].not_valid_before_utc:
        return bad(
            f"not valid before {shown[0].not_valid_before_utc:%Y-%m-%d %H:%M}",
            "compare the clocks of the nodes",
        )
    if left < datetime.timedelta(0):
        return bad(f"expired on {end}", _renew(facts))
    if left < SOON:
        return doubtful(f"ends on {end}, and should have been renewed", _renew(facts))
    return fine(f"valid until {end}")


def _cert_manager(facts: Facts) -> Verdict:
    wanted = any(INJECTED in (item["metadata"].get("annotations") or {}) for item in _ours(facts))
    if not wanted:
        return fine("not needed: the webhook makes its own certificate")
    if CERT_MANAGER in facts.groups:
        return fine("installed")
    return bad(
        "the chart expects it and it is not installed",
        "install cert-manager, or set hami-dra.certs.mode=self",
    )


def _ours(facts: Facts) -> list[Object]:
    return [item for item in facts.webhooks if component(item) == "webhook"]


def _deployment(facts: Facts) -> str:
    """The name of the webhook's; empty where there is none."""
    named = (item["metadata"]["name"] for item in facts.deployments if component(item) == "webhook")
    return next(named, "")


def _certificates(facts: Facts) -> list[x509.Certificate]:
    """The serving certificate and what follows it in its file; nothing where it cannot be read as one."""
    for secret in facts.secrets:
        text = (secret.get("data") or {}).get("tls.crt")
        if text:
            try:
                return x509.load_pem_x509_certificates(base64.b64decode(text))
            except ValueError:
                return []
    return []


def _trusts(trusted: Iterable[x509.Certificate], shown: list[x509.Certificate]) -> bool:
    """Does one of TRUSTED sign one of the chain that SHOWN is, or is it in it?"""
    return any(_signed(certificate, ca) or certificate == ca for ca in trusted for certificate in shown)


def _signed(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _renew(facts: Facts) -> str:
    if any(INJECTED in (item["metadata"].get("annotations") or {}) for item in _ours(facts)):
        return f"kubectl -n {facts.namespace} describe certificate; cert-manager issues and injects it"
    return f"kubectl -n {facts.namespace} rollout restart deployment {_deployment(facts)}"


CHECKS = (
    Check(
        id="webhook-registration",
        title="The webhook is not registered",
        expected="a MutatingWebhookConfiguration of ours",
        why="Pods that ask for `nvidia.com/gpu` are accepted as they are and stay pending for ever.",
        mend=(command(upgrade()),),
        needs=("webhooks", "deployments"),
        look=_registration,
    ),
    Check(
        id="webhook-ca",
        title="The API server does not trust the webhook",
        expected="a CA bundle that signed the webhook's certificate",
        why="Pods that ask for `nvidia.com/gpu` are refused with `x509: certificate signed by unknown "
        "authority`.",
        mend=(
            "With `certs.mode=self` the webhook enters its CA itself when it starts:",
            command("kubectl -n hami-system rollout restart deployment hami-hami-dra-webhook"),
            "With `certs.mode=secret` compare `certs.secret.caBundle` with the CA that signed your "
            "certificate.",
        ),
        needs=("webhooks", "secrets"),
        look=_ca,
    ),
    Check(
        id="webhook-certificate",
        title="The webhook's certificate has ended, or ends soon",
        expected="a certificate valid for 14 days at least",
        why="The API server refuses to talk to a webhook whose certificate has ended, and with it all Pods "
        "that ask for `nvidia.com/gpu`.",
        mend=(
            "The webhook renews its own certificate 30 days before its end, so look why it did not:",
            command(
                f"{logs('webhook')}\nkubectl -n hami-system rollout restart deployment hami-hami-dra-webhook"
            ),
            "With `certs.mode=secret` it is yours to renew.",
        ),
        needs=("secrets", "deployments"),
        look=_certificate,
    ),
    Check(
        id="cert-manager",
        title="cert-manager is missing",
        expected="cert-manager where certs.mode=certManager",
        why="The chart was told that cert-manager issues the webhook's certificate, and nobody does.",
        mend=(
            "Install cert-manager, or let the webhook make its own certificate:",
            command(f"{upgrade()} --set hami-dra.certs.mode=self"),
        ),
        needs=("webhooks", "groups"),
        look=_cert_manager,
    ),
)
