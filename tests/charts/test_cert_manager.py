"""Certificate and Issuer against what cert-manager's published definitions (cert-manager.io/v1) say of them.

cert-manager cannot be had without internet. Written down here are the facts about the fields that the
certificate of a webhook may use: names, types, choices, and which must be there.
"""

from __future__ import annotations

import copy

import jsonschema
import pytest

from .conftest import Object, Render

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}


def structure(required: list[str] | None = None, **fields: object) -> Object:
    """A mapping with these fields and no others: the API server drops what it does not know."""
    return {
        "type": "object",
        "properties": fields,
        "required": required or [],
        "additionalProperties": False,
    }


SPECS = {
    "Certificate": structure(
        ["issuerRef", "secretName"],
        commonName=TEXT,
        dnsNames=TEXTS,
        duration=TEXT,
        ipAddresses=TEXTS,
        isCA={"type": "boolean"},
        issuerRef=structure(["name"], group=TEXT, kind=TEXT, name=TEXT),
        privateKey=structure(
            algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
            encoding={"enum": ["PKCS1", "PKCS8"]},
            rotationPolicy={"enum": ["Never", "Always"]},
            size={"type": "integer"},
        ),
        renewBefore=TEXT,
        renewBeforePercentage={"type": "integer"},
        revisionHistoryLimit={"type": "integer"},
        secretName=TEXT,
        usages=TEXTS,
    ),
    "Issuer": structure(
        ca=structure(["secretName"], secretName=TEXT, crlDistributionPoints=TEXTS, ocspServers=TEXTS),
        selfSigned=structure(crlDistributionPoints=TEXTS),
    ),
}
MODE = "hami-dra.certs.mode=certManager"
ISSUER = "hami-dra.certs.certManager.issuer"


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ([MODE], {"Certificate", "Issuer"}),
        ([MODE, f"{ISSUER}.name=team"], {"Certificate"}),
        ([MODE, f"{ISSUER}.clusterIssuerName=company"], {"Certificate"}),
        ([MODE, "hami-dra.certs.certManager.privateKeyRotationPolicy=Never"], {"Certificate", "Issuer"}),
    ],
    ids=["self-signed", "an Issuer", "a ClusterIssuer", "the key is kept"],
)
def test_what_cert_manager_gets_fits_its_schema(render: Render, values: list[str], kinds: set[str]) -> None:
    rendered = render(*[word for value in values for word in ("--set", value)])
    found = [item for item in rendered if item["kind"] in SPECS]
    assert {item["kind"] for item in found} == kinds
    for item in found:
        assert item["apiVersion"] == "cert-manager.io/v1"
        jsonschema.validate(item["spec"], SPECS[item["kind"]])


def test_the_schema_would_find_a_wrong_field(render: Render) -> None:
    certificate = render("--set", MODE).kind("Certificate")[0]
    wrong = copy.deepcopy(certificate["spec"])
    wrong["privateKey"]["rotationPolicy"] = "Sometimes"
    with pytest.raises(jsonschema.ValidationError, match="Sometimes"):
        jsonschema.validate(wrong, SPECS["Certificate"])
    with pytest.raises(jsonschema.ValidationError, match="issuer"):
        jsonschema.validate(certificate["spec"] | {"issuer": "team"}, SPECS["Certificate"])
