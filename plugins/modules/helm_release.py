#!/usr/bin/python
"""A Helm release, compared by what it renders to: the same objects mean no change."""

from __future__ import annotations

DOCUMENTATION = r"""
module: helm_release
short_description: Install or upgrade a Helm release when its objects would change
description:
  - Renders the chart against the cluster (C(helm upgrade --install --dry-run=server)) and compares the
    objects with those of the deployed release. A chart that changed without a new version is seen, and so is
    a changed value.
  - An upgrade that fails is rolled back (C(--atomic)).
  - A release that an interrupted run left behind is first brought back to one that can be upgraded. Another
    run that may still be at work is waited for, O(timeout) at most.
  - The cluster is that of the environment variable E(KUBECONFIG).
author: The hami-dra authors
attributes:
  check_mode:
    support: full
    description: Renders, and changes nothing.
  diff_mode:
    support: full
    description: The rendered objects before and after.
options:
  name: {description: Name of the release., type: str, required: true}
  namespace: {description: Namespace of the release; made when missing., type: str, required: true}
  chart:
    description: Folder or archive of the chart, or its name in O(repository).
    type: str
    required: true
  repository: {description: Address of the chart's repository., type: str}
  version: {description: Version of the chart in the repository., type: str}
  values: {description: Values of the chart., type: dict, default: {}}
  timeout: {description: How long to wait for the objects., type: str, default: 5m}
"""

EXAMPLES = r"""
- name: Install
  helm_release:
    name: hami
    namespace: hami-system
    chart: charts/hami
    values: {dra: {enabled: true}}
"""

RETURN = r"""
status:
  description: Status of the release before, for example C(deployed); empty when there was none.
  returned: always
  type: str
"""

import hashlib  # noqa: E402
import json  # noqa: E402
import re  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402


def command(options: dict[str, Any]) -> list[str]:
    """The arguments of `helm` that install or upgrade the release; values come on standard input."""
    arguments = ["upgrade", "--install", options["name"], options["chart"]]
    arguments += ["--create-namespace", "--values", "-"]
    for option, key in (("--repo", "repository"), ("--version", "version")):
        if options.get(key):
            arguments += [option, options[key]]
    return arguments


def objects(release: dict[str, Any]) -> list[str]:
    """The objects of a release and its hooks as texts without comments and empty lines, in a fixed order."""
    texts = [release.get("manifest", "")]
    texts += [hook.get("manifest", "") for hook in release.get("hooks") or []]
    found = []
    for document in re.split(r"^---.*$", "\n---\n".join(texts), flags=re.MULTILINE):
        lines = [line.rstrip() for line in document.splitlines() if line.strip() and not line.startswith("#")]
        if lines:
            found.append("\n".join(lines) + "\n")
    return sorted(found)


def shown(documents: list[str]) -> str:
    """The objects for people: a Secret's content is replaced by a digest, so that a change still shows."""
    return "".join(f"---\n{_without_secret(document)}" for document in documents)


def _without_secret(document: str) -> str:
    if not re.search(r"^kind: Secret$", document, flags=re.MULTILINE):
        return document
    kept, hidden = [], False
    for line in document.splitlines():
        if not line.startswith(" "):
            hidden = line.startswith(("data:", "stringData:"))
        kept += [] if hidden else [line]
    digest = hashlib.sha256(document.encode()).hexdigest()
    return "\n".join([*kept, f"data: hidden, sha256 of the object {digest[:12]}\n"])


def is_current(deployed: dict[str, Any] | None, planned: dict[str, Any]) -> bool:
    """Whether the deployed release (None: there is none) has the planned objects and is healthy."""
    if deployed is None or deployed.get("info", {}).get("status") != "deployed":
        return False
    return objects(deployed) == objects(planned)


def recovery(release: dict[str, Any], history: list[dict[str, Any]]) -> list[str]:
    """What `helm` must be told before a release can be upgraded; nothing for one that can.

    helm upgrades neither a release of which an interrupted run left `pending-...`, nor one that is
    `uninstalling`, which is what it calls a release whose removal its own hook refused.
    """
    status, name = release["info"]["status"], release["name"]
    if status == "uninstalling":
        return ["rollback", name, str(release["version"])]
    if not status.startswith("pending-"):
        return []
    worked = [item["revision"] for item in history if item["status"] in ("deployed", "superseded")]
    if worked:
        return ["rollback", name, str(max(worked))]
    return ["uninstall", name, "--no-hooks", "--wait"]


def busy_s(release: dict[str, Any], timeout: str, now: datetime) -> float:
    """Seconds for which another run may still be at work: helm gives up after TIMEOUT, in Go's spelling."""
    if not release["info"]["status"].startswith("pending-"):
        return 0
    units = {"h": 3600, "m": 60, "s": 1}
    limit = sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", timeout))
    begun = datetime.fromisoformat(release["info"]["last_deployed"])
    return max(0, limit - (now - begun).total_seconds())


def short(error: str) -> str:
    """Helm's error as one line, without its prefix."""
    lines = [line for line in error.splitlines() if line.strip() and not line.startswith("WARNING")]
    return " ".join(lines).removeprefix("Error: ")


def settled(
    helm: Callable[..., str], options: dict[str, Any], check: bool
) -> tuple[dict[str, Any] | None, str]:
    """The release once nobody works on it any more, mended where it must be, and its status before that.

    In check mode it is as it was found.
    """
    there = ["status", options["name"], "--output", "json"]
    release = json.loads(helm(there, missing="null"))
    if release is None or check:
        return release, release["info"]["status"] if release else ""
    while release is not None and busy_s(release, options["timeout"], datetime.now(UTC)):
        time.sleep(5)
        release = json.loads(helm(there, missing="null"))
    found = release["info"]["status"] if release else ""
    if release is None or found in ("deployed", "failed"):
        return release, found
    if steps := recovery(release, json.loads(helm(["history", options["name"], "--output", "json"]))):
        helm([*steps, "--timeout", options["timeout"]])
        release = json.loads(helm(there, missing="null"))
    return release, found


def main() -> None:
    """Compare, and upgrade when there is something to change."""
    text = {"type": "str"}
    module = AnsibleModule(
        argument_spec={
            "name": text | {"required": True},
            "namespace": text | {"required": True},
            "chart": text | {"required": True},
            "repository": text,
            "version": text,
            "values": {"type": "dict", "default": {}},
            "timeout": text | {"default": "5m"},
        },
        supports_check_mode=True,
        # Values may hold credentials: they go neither into the system's log nor into what -vvv prints.
        no_log=True,
    )
    values = module.params["values"]
    module.params["values"] = "hidden: may hold credentials"
    helm = module.get_bin_path("helm", required=True)
    options = module.params
    where = f"release {options['namespace']}/{options['name']}"

    def run(arguments: list[str], missing: str = "") -> str:
        words = [helm, "--namespace", options["namespace"], *arguments]
        # Only who reads them gets the values: to write to a program that has ended is an error.
        code, out, error = module.run_command(words, data=json.dumps(values) if "--values" in words else None)
        if code != 0 and missing and "not found" in error:
            return missing
        if code != 0:
            module.fail_json(msg=f"{where}: {short(error)}")
        return str(out)

    deployed, status = settled(run, options, module.check_mode)
    if deployed and status not in ("deployed", "failed") and module.check_mode:
        module.exit_json(changed=True, status=status, msg=f"{where} is {status}; a run would mend that first")
    planned = json.loads(run([*command(options), "--dry-run=server", "--output", "json"]))
    changed = not is_current(deployed, planned)
    if changed and not module.check_mode:
        run([*command(options), "--atomic", "--wait", "--timeout", options["timeout"]])
    before = shown(objects(deployed)) if deployed else ""
    module.exit_json(
        changed=changed or status not in ("deployed", "failed", ""),
        status=status,
        diff={"before": before, "after": shown(objects(planned))},
    )


if __name__ == "__main__":
    main()
