"""The commands in the documentation, and what a test does with each.

A block of commands is a fence without a language, or with `sh`, `bash` or `console`. The comment right above
it says what becomes of it; readers do not see it:

    <!-- run -->                    a test runs it, without a cluster
    <!-- run: cluster -->           the e2e suite runs it
    <!-- not run: REASON -->        REASON is one of NOT_RUN

With `, exit 1` or `, exit any` the block may end so. A fence `text` is output, and not run.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.cluster.versions import REPO

NOT_RUN = {
    "slow": "CI runs it by itself before any test (`make build`, `make test`)",
    "demo": "makes or removes the cluster that this suite runs on; scripts/run-e2e does both",
    "ssh": "needs nodes behind SSH; the same playbook runs in molecule's scenario `kind` through podman",
    "installed": "changes the release that other tests use; tests/charts runs the same install line",
    "other-software": "needs HAMi's device plugin or upstream's DRA mode in the cluster",
    "template": "a line to fill in; tests/contract/test_conformance.py runs it for our plugin",
    "gpu": "needs an NVIDIA driver; the same command runs with --sim beside it",
    "registry": "needs a registry and the files of a release; tests/release makes these files",
    "remedy": "mends a fault that the test cluster does not have; tests/unit/ops plants each",
    "own-file": "names files that the reader has written; tests/unit/devices tries the example of the page",
    "bench": "measures for minutes, or needs a GPU; no mark is set that a busy machine could miss",
    "endless": "runs until it is stopped",
    "prometheus": "needs the Prometheus Operator; tests/charts renders the same values",
}
"""Why a block is not run, by the word that its comment gives."""

SHELL = ("", "sh", "bash", "console")
_MARK = re.compile(r"<!-- (run|not run)(?:: ([a-z-]+))?(?:, exit (any|\d+))? -->")
_MARK_EXIT = re.compile(r"<!-- run: exit (any|\d+) -->")


@dataclass(frozen=True)
class Block:
    """LINE is that of its first fence. `mark` is `run`, `cluster` or `not run`; empty: nothing is said."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    reason: str = ""
    exit: str = "0"

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"


@functools.cache
def pages() -> dict[str, str]:
    """Every page of the documentation by its path: what is in docs/, what is made, and the README."""
    sys.path[:0] = [str(REPO / "scripts/docs")]
    import hooks

    found = {str(path.relative_to(REPO)): path.read_text() for path in sorted((REPO / "docs").rglob("*.md"))}
    made = {f"docs/{name}": text for name, text in hooks.generated().items()}
    return {"README.md": (REPO / "README.md").read_text(), **found, **made}


@functools.cache
def blocks() -> list[Block]:
    return [block for page, text in pages().items() for block in parse(page, text)]


def commands(mark: str) -> list[Block]:
    return [block for block in blocks() if block.language in SHELL and block.mark == mark]


def parse(page: str, text: str) -> Iterator[Block]:
    """The fenced blocks of a page, indented ones in lists too."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        fence = re.match(r"(\s*)```\s*(\w*)\s*$", lines[number])
        if fence is None:
            number += 1
            continue
        indent, language = fence.groups()
        end = next(i for i in range(number + 1, len(lines)) if lines[i].strip() == "```")
        body = "\n".join(line.removeprefix(indent) for line in lines[number + 1 : end]) + "\n"
        above = lines[number - 1].strip() if number else ""
        yield Block(page, number + 1, language, body, *_mark(above))
        number = end + 1


def _mark(comment: str) -> tuple[str, str, str]:
    if found := _MARK_EXIT.fullmatch(comment):
        return "run", "", found[1]
    found = _MARK.fullmatch(comment)
    if found is None:
        return "", "", "0"
    verb, what, code = found[1], found[2] or "", found[3] or "0"
    return ("cluster", "", code) if what == "cluster" else (verb, what, code)
