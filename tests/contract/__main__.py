"""Conformance of any DRA driver: `python -m tests.contract --registry DIR [options] [-- COMMAND...]`.

With a COMMAND the driver is started, and restarted, by the suite, against an API server of the suite's own:
`{kubeconfig}` in it becomes the path of the kubeconfig. Without one, the driver runs already and
--kubeconfig leads to its cluster, where claims are created in the namespace `default`. docs/conformance.md
has more.
"""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from hami_dra.kube import NODES, Client
from tests.contract.bench import Bench, own_api
from tests.contract.check import Check, Skipped
from tests.contract.checks import CHECKS
from tests.support import control_plane
from tests.support.kubelet import DEADLINE_S

_FOLDER = click.Path(path_type=Path)


@click.command(help=__doc__)
@click.option(
    "--registry", type=click.Path(path_type=Path), required=True, help="kubelet's plugins_registry."
)
@click.option("--node", default="conformance", show_default=True, help="Node name of the driver.")
@click.option("--driver", default="", help="Name of the driver, when the folder has several.")
@click.option("--cdi-dir", type=click.Path(path_type=Path), help="Where it writes CDI files.")
@click.option(
    "--state-dir", type=click.Path(path_type=Path), help="Where its checkpoint is, if not by its socket."
)
@click.option(
    "--api",
    type=click.Choice(["memory", "real"]),
    default="memory",
    help="The suite's own API server: in memory (JSON only, can fail on purpose) or etcd and kube-apiserver.",
)
@click.option("--kubeconfig", help="The driver's cluster, without a COMMAND.")
@click.option(
    "--deadline",
    type=click.FloatRange(10),
    default=DEADLINE_S,
    show_default=True,
    help="Seconds that kubelet waits for an answer.",
)
@click.option("--log", type=_FOLDER, help="File for the output of COMMAND.")
@click.option("--group", "groups", multiple=True, help="Only these groups of checks.")
@click.option("-o", "--output", type=click.Choice(["text", "markdown", "json"]), default="text")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def main(command: tuple[str, ...], output: str, groups: tuple[str, ...], **options: Any) -> None:
    """See the module's docstring."""
    with ExitStack() as stack:
        bench = _bench(stack, command, options)
        bench.start()
        stack.callback(bench.end)
        wanted = [each for each in CHECKS if not groups or each.group in groups]
        results = [(each, *_outcome(each, bench)) for each in wanted]
    _print(output, bench.driver, results)
    if any(said == "FAIL" and each.required for each, said, _ in results):
        sys.exit(1)


def _bench(stack: ExitStack, command: tuple[str, ...], options: dict[str, Any]) -> Bench:
    common = {
        "registry": options["registry"],
        "node": options["node"],
        "driver": options["driver"],
        "cdi": options["cdi_dir"],
        "state": (options["state_dir"],) if options["state_dir"] else (),
        "log": options["log"],
        "deadline_s": options["deadline"],
    }
    if not command:
        return Bench(Client.from_environment(options["kubeconfig"]), **common)
    api = None
    if options["api"] == "real":
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="contract-api-")))
        plane = stack.enter_context(control_plane.api_server(folder))
        kube, kubeconfig = plane.client, plane.kubeconfig
        kube.create(NODES, {"metadata": {"name": options["node"]}})
    else:
        api, kubeconfig = stack.enter_context(own_api(options["node"]))
    words = [word.replace("{kubeconfig}", str(kubeconfig)) for word in command]
    return Bench(api or kube, api=api, command=words, **common)


def _outcome(each: Check, bench: Bench) -> tuple[str, str]:
    try:
        each.run(bench)
    except Skipped as why:
        return "skip", str(why)
    except AssertionError as why:
        return "FAIL", str(why)
    except Exception as why:  # a driver that breaks in an unforeseen way
        return "FAIL", "".join(traceback.format_exception_only(why)).strip().replace("\n", " ")[:200]
    else:
        return "pass", ""
    finally:
        if bench.process is not None and bench.process.poll() is not None:
            bench.end()
            bench.start()


def _print(output: str, driver: str, results: list[tuple[Check, str, str]]) -> None:
    if output == "json":
        rows = [
            {"group": e.group, "name": e.name, "required": e.required, "result": s, "why": w}
            for e, s, w in results
        ]
        click.echo(json.dumps({"driver": driver, "checks": rows}, indent=1))
        return
    if output == "markdown":
        click.echo(f"| group | {driver} | required | result |\n|---|---|---|---|")
        for each, said, why in results:
            click.echo(f"| {each.group} | {each.name} | {'yes' if each.required else ''} | {said} {why} |")
        return
    for each, said, why in results:
        click.echo(f"{said}  {each.group}: {each.name}{f' ({why})' if why else ''}")
    counts = {said: sum(1 for _, got, _ in results if got == said) for said in ("pass", "FAIL", "skip")}
    click.echo(f"{driver}: {counts['pass']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")


if __name__ == "__main__":
    main()
