"""Switch one feature gate in the files that a Kubernetes component reads it from.

Each filter takes the text of a file and returns a plan: `{"text": the text as it should be, "problem": ""}`.
What must not be touched is in `problem`, as one line with the place and the remedy, and `text` is then the
text as it was. Everything that is not the gate stays as it is, byte for byte.

    manifest | manifest_gate(gate, file)   a static Pod's `--feature-gates` (/etc/kubernetes/manifests)
    config   | kubelet_gate(gate, file)    `featureGates` of a KubeletConfiguration
    config   | kubeadm_gate(gate, file)    `extraArgs` of a kubeadm ClusterConfiguration, v1beta3 and v1beta4

With `on=false` the gate is taken out again, where it stands as `true`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import yaml

Plan = dict[str, str]

FLAG = "feature-gates"
KUBEADM_COMPONENTS = ("apiServer", "controllerManager", "scheduler")


class _AsKubeadm(yaml.SafeDumper):
    """Strings that would read as something else get double quotes, as kubeadm writes them."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        node = super().represent_str(data)
        if self.resolve(yaml.ScalarNode, data, (True, False)) != "tag:yaml.org,2002:str":
            node.style = '"'
        return node


_AsKubeadm.add_representer(str, _AsKubeadm.represent_str)


class Untouchable(Exception):
    """The text cannot or must not be edited; the message is for a person."""


def manifest_gate(text: str, gate: str, file: str, on: bool = True) -> Plan:
    """The manifest of one static Pod, whose first container's command is a component with its flags."""

    def edit(document: dict[str, Any]) -> str:
        try:
            command = list(document["spec"]["containers"][0]["command"])
        except (KeyError, IndexError, TypeError):
            raise Untouchable(f"{file}: no command of a first container; is it a static Pod?") from None
        flags = [number for number, word in enumerate(command) if str(word).startswith(f"--{FLAG}=")]
        value = ",".join(command[number].partition("=")[2] for number in flags)
        merged = _merged(value, gate, on, text, file)
        if merged == value:
            return text
        first = flags[0] if flags else 1
        new = [f"--{FLAG}={merged}"] if merged else []
        wanted = [word for number, word in enumerate(command) if number not in flags]
        wanted[first:first] = new
        lines, place, indent = [], None, ""
        for line in text.splitlines(keepends=True):
            found = re.match(rf"""(\s*)- (["']?)--{FLAG}=""", line)
            if found:
                place, indent = len(lines) if place is None else place, found[1]
                continue
            lines.append(line)
            program = re.match(rf"""(\s*)- ["']?{re.escape(str(command[0]))}["']?\s*$""", line)
            if program and not flags and place is None:
                place, indent = len(lines), program[1]
        lines[place:place] = [f"{indent}- {word}\n" for word in new]
        expected = copy.deepcopy(document)
        expected["spec"]["containers"][0]["command"] = wanted
        return _checked("".join(lines), expected, gate, file)

    return _plan(text, file, edit)


def kubelet_gate(text: str, gate: str, file: str, on: bool = True) -> Plan:
    """A KubeletConfiguration: `featureGates` is a mapping at the top."""

    def edit(document: dict[str, Any]) -> str:
        gates = document.get("featureGates") or {}
        if gates.get(gate) is False:
            raise _refusal(gate, text, file)
        if bool(gates.get(gate)) == on:
            return text
        wanted = gates | {gate: True} if on else {name: gates[name] for name in gates if name != gate}
        expected = {key: value for key, value in document.items() if key != "featureGates"}
        if wanted:
            expected["featureGates"] = wanted
        return _checked(_kubelet_text(text, gates, wanted, gate), expected, gate, file)

    return _plan(text, file, edit)


def _kubelet_text(text: str, gates: dict[str, bool], wanted: dict[str, bool], gate: str) -> str:
    head = re.search(r"^featureGates:[^\n]*\n?", text, flags=re.MULTILINE)
    if head is None:
        gap = "" if text.endswith("\n") or not text else "\n"
        return f"{text}{gap}featureGates:\n  {gate}: true\n"
    if re.match(r"featureGates:\s*(#.*)?$", head[0]):  # a block below, or nothing
        if not wanted:
            return re.sub(rf"^featureGates:[^\n]*\n\s+{gate}:[^\n]*\n?", "", text, flags=re.MULTILINE)
        if gate in gates:
            return re.sub(rf"^\s+{gate}:[^\n]*\n?", "", text, flags=re.MULTILINE)
        indent = re.match(r"( +)\S", text[head.end() :])
        line = f"{indent[1] if indent else '  '}{gate}: true\n"
        return text[: head.end()] + line + text[head.end() :]
    inline = ", ".join(f"{name}: {str(value).lower()}" for name, value in wanted.items())
    return text[: head.start()] + (f"featureGates: {{{inline}}}\n" if wanted else "") + text[head.end() :]


def kubeadm_gate(text: str, gate: str, file: str, on: bool = True) -> Plan:
    """The ClusterConfiguration that `kubeadm upgrade` makes the manifests from, in kubeadm's own form."""

    def edit(document: dict[str, Any]) -> str:
        version = str(document.get("apiVersion", "")).rpartition("/")[2]
        if version not in ("v1beta3", "v1beta4"):
            raise Untouchable(
                f"{file}: apiVersion {document.get('apiVersion')} is none of kubeadm's v1beta3 and v1beta4; "
                f"add {gate}=true to {FLAG} of each component by hand"
            )
        expected = copy.deepcopy(document)
        for component in KUBEADM_COMPONENTS:
            part = expected.get(component) or {}
            before = part.get("extraArgs") or ({} if version == "v1beta3" else [])
            change = _arguments_map if version == "v1beta3" else _arguments_list
            after = change(before, lambda value: _merged(value, gate, on, text, file))
            if after == before:
                continue
            part = {key: value for key, value in part.items() if key != "extraArgs"}
            expected[component] = part | ({"extraArgs": after} if after else {})
        if expected == document:
            return text
        return str(yaml.dump(expected, Dumper=_AsKubeadm, default_flow_style=False, width=4096))

    return _plan(text, file, edit)


def _arguments_map(arguments: dict[str, str], change: Callable[[str], str]) -> dict[str, str]:
    """v1beta3: a mapping of flags."""
    value = change(arguments.get(FLAG, ""))
    rest = {name: text for name, text in arguments.items() if name != FLAG}
    return rest | ({FLAG: value} if value else {})


def _arguments_list(arguments: list[dict[str, str]], change: Callable[[str], str]) -> list[dict[str, str]]:
    """v1beta4: a list of flags, in which one may stand several times."""
    ours = [item for item in arguments if item.get("name") == FLAG]
    value = change(",".join(item.get("value", "") for item in ours))
    rest = [item for item in arguments if item.get("name") != FLAG]
    place = arguments.index(ours[0]) if ours else len(rest)
    return rest[:place] + ([{"name": FLAG, "value": value}] if value else []) + rest[place:]


def _merged(value: str, gate: str, on: bool, text: str, file: str) -> str:
    """A flag's value `A=true,B=false` with the gate in it, or without it."""
    pairs = [pair for pair in value.split(",") if pair]
    ours = [pair for pair in pairs if pair.partition("=")[0].strip() == gate]
    states = [pair.partition("=")[2].strip().lower() for pair in ours]
    if "false" in states:
        raise _refusal(gate, text, file)
    if bool(states) == on:
        return value
    if on:
        return ",".join([*pairs, f"{gate}=true"])
    return ",".join(pair for pair in pairs if pair not in ours)


def _refusal(gate: str, text: str, file: str) -> Untouchable:
    number = next((n for n, line in enumerate(text.splitlines(), 1) if gate in line), 1)
    return Untouchable(
        f"{file}:{number}: somebody switched {gate} off on purpose; remove that, or leave this node out"
    )


def _plan(text: str, file: str, edit: Callable[[dict[str, Any]], str]) -> Plan:
    try:
        document = yaml.safe_load(text)
        if not isinstance(document, dict):
            raise Untouchable(f"{file}:1: not a YAML mapping; put the file right first")
        return {"text": edit(document), "problem": ""}
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else file
        what = getattr(problem, "problem", None) or "broken"
        return {"text": text, "problem": f"{place}: not YAML: {what}; put the file right first"}
    except Untouchable as problem:
        return {"text": text, "problem": str(problem)}


def _checked(text: str, expected: dict[str, Any], gate: str, file: str) -> str:
    """The edited text, when it says what it should and nothing else."""
    try:
        right = yaml.safe_load(text) == expected
    except yaml.YAMLError:
        right = False
    if not right:
        raise Untouchable(f"{file}: {gate} cannot be switched line by line; add it to the file by hand")
    return text


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"manifest_gate": manifest_gate, "kubelet_gate": kubelet_gate, "kubeadm_gate": kubeadm_gate}
