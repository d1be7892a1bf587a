"""The command line in this process, with a healthy cluster behind HTTP."""

import re

import pytest
from click.testing import CliRunner

from hami_dra.cli.main import cli
from hami_dra.model import errors
from tests.support import kube_server
from tests.unit.ops import healthy

METRICS = "/api/v1/namespaces/hami-system/pods/driver-{node}:8080/proxy/metrics"


@pytest.fixture
def kube(monkeypatch):
    """The cluster; programs in its Pods are asked past HTTP, which the fake server does not upgrade."""
    made = healthy.cluster()
    monkeypatch.setattr(
        "hami_dra.kube.execute.run", lambda _api, *arguments: made.execute(*arguments), raising=True
    )
    return made


@pytest.fixture
def hami(kube, tmp_path):
    """`hami("doctor")` -> the result, as on a terminal of 80 columns; `columns=`: of others, None: a pipe."""
    with kube_server.serving(kube, tmp_path) as kubeconfig:

        def run(*arguments, columns=80):
            typed = [*arguments, "--kubeconfig", str(kubeconfig)]
            return CliRunner().invoke(cli, typed, env={"COLUMNS": columns and str(columns)})

        yield run


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture
def in_a_namespace(kube, monkeypatch):
    """Who asks may look into single namespaces only."""
    everything = kube.list

    def within(kind, namespace=None, **chosen):
        if namespace is None:
            raise errors.Denied(f"cannot list {kind.plural} at the cluster scope", status=403)
        return everything(kind, namespace, **chosen)

    monkeypatch.setattr(kube, "list", within)
