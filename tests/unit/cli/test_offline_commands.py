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
    assert "document 2" in done.stderr
    assert "spec.containers[c]" in done.stderr
