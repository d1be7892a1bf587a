"""Input that is wrong in every way is told in one line: what, where, and where it helps how to mend it."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.support.ports import free_port

HAMI = [sys.executable, "-m", "hami_dra.cli.main"]


def hami(*arguments, stdin=b"", **more):
    environment = dict(os.environ) | more.pop("environment", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    done = subprocess.run([*HAMI, *map(str, arguments)], input=stdin, env=environment, **pipes)
    assert b"Traceback" not in done.stderr
    return done


def pod(containers, **metadata):
    return {"kind": "Pod", "metadata": {"name": "p"} | metadata, "spec": {"containers": containers}}


def share(memory):
    return {"name": "c", "resources": {"limits": {"nvidia.com/gpumem": memory}}}


SHARE = share("1024")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1,\n b", "<stdin>:3: not YAML: did not find expected ',' or ']'"),
        ("{{ .Values.pod }}", "Render it first: helm template CHART | hami convert -f -"),
        (b"\xff\xfe", "<stdin>: not a text in UTF-8"),
        ("[" * 3000, "<stdin>: nested without end"),
        ("a: &a [*a]\nkind: Pod\nspec: *a", "spec: Expected `object`, got `array`"),
        ("just words", "document 1, not a Kubernetes object: Expected `object`, got `str`"),
        ("apiVersion: v1", "document 1, not a Kubernetes object: `kind` is missing"),
        ({"kind": "List", "items": [3]}, "not a Kubernetes object: Expected `object`, got `int`"),
        ({"kind": "Deployment", "metadata": 3}, "metadata: Expected `object`, got `int`"),
        (pod([SHARE], annotations={"a": 1}), "metadata.annotations[...]: Expected `str`, got `int`"),
        (pod([share("9" * 5000)]), "limits[nvidia.com/gpumem]: '99999999999999999999...' is not a quantity"),
        ("spec: " + "9" * 5000, "<stdin>: not YAML: Exceeds the limit"),
        (pod({}), "Pod p: spec.containers: Expected `array`, got `object`"),
        (pod([None]), "Pod p: spec.containers[0]: Expected `object`, got `null`"),
        (pod([SHARE | {"name": 7}]), "Pod p: spec.containers[0].name: Expected `str`, got `int`"),
        (pod([{"resources": {}}]), "Pod p: spec.containers[0]: `name` is missing"),
        (pod([SHARE | {"resources": {"limits": []}}]), "resources.limits: Expected `object`, got `array`"),
    ],
)
def test_a_manifest_that_is_none_is_told_in_one_line(text, words):
    text = yaml.safe_dump(text) if isinstance(text, dict) else text
    done = hami("convert", "-f", "-", stdin=text if isinstance(text, bytes) else text.encode())
    assert done.returncode == 1
    assert words in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


def test_what_is_right_in_an_odd_way_is_converted():
    """A date that YAML knows, a byte order mark, and a container that its kind names later (Knative)."""
    service = {"kind": "Service", "metadata": {"name": "s"}}
    service["spec"] = {"template": {"spec": {"containers": [{"resources": SHARE["resources"]}]}}}
    text = "\ufeffkind: ConfigMap\nmetadata: {name: x}\ndata: {day: 2026-01-01}\n---\n" + yaml.safe_dump(
        service
    )
    done = hami("convert", "-f", "-", "-o", "json", stdin=text.encode())
    assert done.returncode == 0
    items = json.loads(done.stdout)["items"]
    assert [item["kind"] for item in items] == ["ConfigMap", "Service", "Pod", "ResourceClaimTemplate"]
    assert items[0]["data"] == {"day": "2026-01-01"}


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        *(("top", "--interval", value) for value in ("nan", "inf", "-1", "0", "x")),
        *(("verify", "--wait", value) for value in ("nan", "-1", "9" * 400)),
    ],
)
def test_a_number_that_is_out_of_range_or_none_is_refused(command, option, value):
    done = hami(command, option, value)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"Error: Invalid value for '{option}': ".encode())


def test_what_answers_and_is_no_web_server_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        asks = subprocess.Popen([*HAMI, "verify", "--answers", url], stdout=subprocess.PIPE)
        with server.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        assert f"✗ {url}  does not answer: SSH-2.0-OpenSSH_9.2" in asks.communicate()[0].decode()
    assert asks.returncode == 1


@pytest.mark.parametrize("text", ["a: [1,", "words", "- 1", b"\xff", ""], ids=str)
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path, text):
    file = tmp_path / "config"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = hami("status", "--kubeconfig", file)
    assert done.returncode == 2
    said = done.stderr.decode()
    assert said.startswith("hami: no usable cluster configuration")
    assert str(file) in said
    assert len(said.splitlines()) == 1


@pytest.fixture
def nowhere(tmp_path):
    """A kubeconfig of a cluster that does not answer."""
    file = tmp_path / "config"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "x", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
                "current-context": "x",
            }
        )
    )
    return file


def test_a_context_that_is_not_there_is_named(nowhere):
    said = hami("status", "--kubeconfig", nowhere, "--context", "prod").stderr.decode()
    assert said == f"hami: no usable cluster configuration: there is no context prod in {nowhere}\n"


@pytest.mark.parametrize("command", [["status"], ["explain", "p"], ["top", "--once"], ["in-use"]])
def test_a_cluster_that_does_not_answer_is_told_once_and_by_its_address(nowhere, command):
    done = hami(*command, "--kubeconfig", nowhere)
    assert done.returncode == 2
    said = done.stderr.decode()
    assert said.startswith("hami: no answer from http://127.0.0.1:1 (GET ")
    assert said.endswith("): Connection refused\n")
    assert len(said.splitlines()) == 1


SERVICES = {
    "monitor": ("--metrics-port", "--health-port"),
    "webhook": ("--port", "--health-port"),
    "plugin": ("--metrics-port", "--health-port"),
}


def serving(command):
    return [command, "--node-name", "x"] if command == "plugin" else [command]


@pytest.mark.parametrize("command", SERVICES)
def test_a_port_that_is_none_is_refused(command):
    for option in SERVICES[command]:
        done = hami(*serving(command), option, "99999999")
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(
            f"Error: Invalid value for '{option}': 99999999 is".encode()
        )


@pytest.mark.parametrize("command", SERVICES)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_told_in_one_line(nowhere, command, host):
    for option in SERVICES[command]:
        others = [each for each in SERVICES[command] if each != option]
        with socket.create_server((host, 0)) as taken:
            port = taken.getsockname()[1]
            free = [word for each in others for word in (each, free_port())]
            done = hami(*serving(command), option, port, *free, "--kubeconfig", nowhere)
        assert done.returncode == 2
        assert done.stderr.decode() == f"hami: cannot listen on port {port}: Address already in use\n"


def test_options_for_a_cluster_without_a_cluster_are_refused():
    done = hami("convert", "-f", "tests/guide/compatible.yaml", "--context", "x")
    assert done.returncode == 2
    assert b"--live" in done.stderr


def test_a_locale_without_signs_gets_others(tmp_path):
    done = hami("doctor", "--node-only", "--state-dir", tmp_path, environment={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode in (0, 1, 2)
    assert b"kernel-version" in done.stdout


AS_NOBODY = """
import os, sys
from click.testing import CliRunner
from hami_dra.cli.main import cli, main
CliRunner().invoke(cli, sys.argv[1:])  # imports what nobody else may read
if not os.getuid():
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
main()
"""


@pytest.mark.parametrize("alone", [["--node-only"], []], ids=["node-only", "cluster"])
def test_what_a_user_may_not_see_is_not_taken_to_be_missing(alone):
    """kubelet's folders are root's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "plugins").mkdir(mode=0o300)
        where = ["--plugins-dir", folder / "plugins", "--state-dir", folder, "--kubeconfig", os.devnull]
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, "doctor", *map(str, where), *alone], capture_output=True
        )
    assert f"{folder}/plugins may not be read by this user: become root".encode() in done.stderr
    assert b"plugin-sockets" not in done.stdout
    assert done.returncode == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_told_in_one_line(unbuffered):
    """Unless PYTHONUNBUFFERED is set, Python tries once more at its end to print the rest."""
    with open("/dev/full", "wb") as full:
        environment = {"PYTHONUNBUFFERED": unbuffered}
        done = hami("convert", "-f", "tests/guide/compatible.yaml", stdout=full, environment=environment)
    assert done.returncode == 2
    assert done.stderr == b"hami: [Errno 28] No space left on device\n"


def test_a_reader_that_goes_away_is_no_failure_to_tell_of():
    pipe = subprocess.Popen([*HAMI, "doctor", "--list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pipe.stdout.close()
    assert pipe.stderr.read() == b""
    pipe.stderr.close()
    pipe.wait()


@pytest.mark.native
@pytest.mark.parametrize("command", [["slice", "--sim"], ["run", "--sim"]], ids=" ".join)
def test_a_file_that_describes_no_gpus_is_named(tmp_path, command):
    file = tmp_path / "gpus.yaml"
    file.write_bytes(b"\xff\xfe")
    done = hami(*command, file, *(["--", "true"] if command[0] == "run" else []))
    assert done.returncode in (1, 2)
    assert str(file).encode() in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_driver_run_says_what_to_do(tmp_path):
    os.symlink("/usr/bin/env", tmp_path / "env")
    done = hami("run", "--", "true", environment={"PATH": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr.startswith(b"hami: there is no nvidia-smi: install NVIDIA's driver, or give --sim")


def test_without_a_driver_slice_says_what_to_do(tmp_path):
    done = hami("slice", "--driver-root", tmp_path)
    assert done.returncode == 2
    told = f"no NVIDIA driver is below {tmp_path}: give --driver-root its folder, or --sim a file of GPUs"
    assert done.stderr.decode() == f"hami: {told}\n"
