import os
import pty
import signal
import subprocess
import sys

import pytest
import yaml

HAMI = [sys.executable, "-m", "hami_dra.cli.main"]
A10 = "tests/guide/gpus-a10.yaml"


def hami(*arguments, stdin=""):
    return subprocess.run([*HAMI, *arguments], input=stdin, capture_output=True, text=True, check=False)


@pytest.mark.native
def test_run_shows_the_share_and_passes_the_exit_code_on():
    shown = hami("run", "--sim", A10, "--memory", "10Gi", "--", "nvidia-smi")
    assert "10240MiB" in shown.stdout
    assert hami("run", "--sim", A10, "--", "sh", "-c", "exit 7").returncode == 7
    assert hami("run", "--sim", A10, "--", "sh", "-c", "kill -9 $$").returncode == 137


def test_a_container_that_has_a_share_gets_no_other_by_run():
    """In a mount namespace of its own."""
    as_in_a_container = 'mount -t tmpfs none /run && mkdir -p /run/hami/shares && exec "$@"'
    asked = [*HAMI, "run", "--memory", "1Gi", "--", "python", "train.py"]
    command = ["unshare", "--mount", "sh", "-c", as_in_a_container, "sh", *asked]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("hami: /run/hami/shares: this container has a share already")
    assert "start python by itself" in refused.stderr.lower()


@pytest.mark.native
def test_a_card_whose_memory_the_driver_does_not_tell_wants_an_amount(tmp_path, monkeypatch):
    """As those that share the host's memory."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-f1c7d08c, [N/A]'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert hami("run", "--memory", "10Gi", "--", "true").returncode == 0
    refused = hami("run", "--", "true")
    assert refused.returncode == 1
    assert refused.stderr.startswith("hami: --memory: the driver does not tell the card's memory.")


COUNTING = """
import signal
awaited = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
print("ready", flush=True)
first, second = signal.sigwait(awaited), signal.sigtimedwait(awaited, 0.5)
print(f"came: {first.name}{' twice' if second else ''}", flush=True)
raise SystemExit(3)
"""


@pytest.mark.native
def test_ctrl_c_reaches_the_program_once():
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [*HAMI, "run", "--sim", A10, "--", sys.executable, "-c", COUNTING])
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        assert b"ready" in screen.readline()
        screen.write(b"\x03")
        assert screen.readline().endswith(b"came: SIGINT\r\n")
        _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 3


@pytest.mark.native
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_sent_to_run_alone_is_passed_on(number):
    command = [*HAMI, "run", "--sim", A10, "--", sys.executable, "-c", COUNTING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"came: {number.name}\n"
    assert process.returncode == 3


@pytest.mark.native
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--memory", "lots"], "'lots' is not a quantity"),
        (["--memory", "100Gi"], "the card has 23028Mi"),
        (["--gpu", "3"], "there is no such GPU; this host has 0 (GPU-f1c7d08c"),
        (["--cores", "101"], "101"),
    ],
)
def test_bad_options_of_run_are_one_clear_line(arguments, words):
    done = hami("run", "--sim", A10, *arguments, "--", "true")
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.native
def test_a_broken_simulator_file_is_named_with_its_line(tmp_path):
    broken = tmp_path / "gpus.yaml"
    broken.write_text("driverVersion: 1\ngpus:\n- uuid\n")
    done = hami("run", "--sim", str(broken), "--", "true")
    assert done.returncode == 2
    assert f"{broken}:3" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_convert_prints_pod_and_claim_as_the_guide_has_it():
    changed, claim = yaml.safe_load_all(hami("convert", "-f", "tests/guide/compatible.yaml").stdout)
    with open("tests/guide/compatible.claim.expected.yaml") as file:
        expected = yaml.safe_load(file)
    assert claim["spec"] == expected["spec"]
    assert "limits" not in changed["spec"]["containers"][0]["resources"]


def test_convert_treats_a_deployment_as_the_cluster_treats_its_pods():
    pod = {"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpumem": "1024"}}}]}
    deployment = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"spec": pod}}}
    service = {"kind": "Service", "metadata": {"name": "web"}}
    listed = {"kind": "List", "items": [deployment, service]}
    made = list(yaml.safe_load_all(hami("convert", "-f", "-", stdin=yaml.safe_dump(listed)).stdout))
    assert [item["kind"] for item in made] == ["Deployment", "Pod", "ResourceClaimTemplate", "Service"]


def test_convert_names_file_document_and_field_of_a_denial():
    done = hami(
        "convert",
        "-f",
        "-",
        stdin="---\n{}\n---\n"
        + yaml.safe_dump(
            {
                "kind": "Pod",
                "metadata": {"name": "p"},
                "spec": {
                    "containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpucores": "101"}}}]
                },
            }
        ),
    )
    assert done.returncode == 1
    assert "document 2, Pod p: spec.containers[c]: nvidia.com/gpucores is 101" in done.stderr


def gpu_pod(name, **limits):
    resources = {"limits": {f"nvidia.com/{key}": str(value) for key, value in limits.items()}}
    return {
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "resources": resources}]},
    }


def test_convert_prints_what_is_right_beside_a_denial():
    manifests = yaml.safe_dump_all([gpu_pod("bad", gpucores=101), gpu_pod("good", gpumem=1024)])
    done = hami("convert", "-f", "-", stdin=manifests)
    assert done.returncode == 1
    assert [item["metadata"]["name"] for item in yaml.safe_load_all(done.stdout)] == [
        "good",
        "default-good-c",
    ]


def test_convert_leaves_alone_what_the_webhook_never_sees():
    system = gpu_pod("agent", gpumem=1024)
    system["metadata"]["namespace"] = "kube-system"
    (only,) = yaml.safe_load_all(hami("convert", "-f", "-", stdin=yaml.safe_dump(system)).stdout)
    assert only == system


def test_convert_takes_the_namespace_as_kubectl_does():
    done = hami("convert", "-n", "ml", "-f", "-", stdin=yaml.safe_dump(gpu_pod("train", gpumem=1024)))
    _, claim = yaml.safe_load_all(done.stdout)
    assert (claim["metadata"]["namespace"], claim["metadata"]["name"]) == ("ml", "ml-train-c")


def test_convert_finds_the_pods_of_kinds_it_has_never_heard_of():
    task = {"name": "worker", "template": {"spec": gpu_pod("x", gpumem=1024)["spec"]}}
    volcano = {"kind": "Job", "apiVersion": "batch.volcano.sh/v1alpha1", "metadata": {"name": "mpi"}}
    volcano["spec"] = {"tasks": [task, task | {"name": "master"}]}
    made = list(yaml.safe_load_all(hami("convert", "-f", "-", stdin=yaml.safe_dump(volcano)).stdout))
    assert [item["kind"] for item in made] == ["Job", "Pod", "ResourceClaimTemplate", "Pod"]
    assert made[0] == volcano


def test_convert_needs_the_cards_for_a_percentage_and_takes_them_from_the_command_line():
    manifest = yaml.safe_dump(gpu_pod("train", **{"gpumem-percentage": 50}))
    refused = hami("convert", "-f", "-", stdin=manifest)
    assert "no node publishes a fitting one yet" in refused.stderr
    arguments = ["--card-memory", "24Gi", "--card-memory", "80Gi"]
    _, claim = yaml.safe_load_all(hami("convert", *arguments, "-f", "-", stdin=manifest).stdout)
    (request,) = claim["spec"]["devices"]["requests"]
    amounts = [one["capacity"]["requests"]["memory"] for one in request["firstAvailable"]]
    assert amounts == [str(12 * 1024**3), str(40 * 1024**3)]


def test_convert_prints_the_warnings_that_kubectl_would_print():
    manifest = gpu_pod("train", gpumem=1024)
    manifest["metadata"]["annotations"] = {"hami.io/gpu-scheduler-policy": "binpack"}
    done = hami("convert", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert done.returncode == 0
    assert done.stderr.startswith("Warning: Pod train: hami.io/gpu-scheduler-policy: binpack has no effect")
