"""mkdocs hooks: add the pages that are made from code, and order the navigation.

Nothing that is made here is committed, so nothing can be stale: what the site says of values, commands,
roles, attributes, parameters and checks is read from their source when it is built.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPO = Path(__file__).parents[2]
sys.path[:0] = [str(REPO), str(REPO / "src"), str(Path(__file__).parent)]

import reference  # noqa: E402
import troubleshooting  # noqa: E402

SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Start", "", ("index.md", "quick-start.md", "concepts.md")),
    (
        "How to",
        "how-to/",
        (
            "how-to/roll-out-with-ansible.md",
            "how-to/deploy-with-gitops.md",
            "how-to/share-a-card.md",
            "how-to/choose-a-card.md",
            "how-to/tune-a-share.md",
            "how-to/limit-on-one-host.md",
            "compatibility-mode.md",
            "quota.md",
            "monitoring.md",
            "families.md",
            "how-to/migrate-from-device-plugin.md",
            "how-to/migrate-from-upstream-dra.md",
            "how-to/install-without-internet.md",
            "how-to/upgrade-and-remove.md",
            "how-to/ask-for-help.md",
        ),
    ),
    (
        "Reference",
        "reference/",
        (
            "reference/cli.md",
            "reference/values.md",
            "metrics.md",
            "reference/parameters.md",
            "node.md",
            "profiles.md",
            "backends.md",
            "conformance.md",
        ),
    ),
    ("Troubleshooting", "troubleshooting/", ("troubleshooting/index.md",)),
    ("Runbooks", "runbooks/", ("runbooks/index.md",)),
    (
        "About",
        "adr/",
        ("security.md", "benchmarks.md", "supported-versions.md", "interfaces.md", "changelog.md"),
    ),
)
"""Title, folder whose other pages follow, and the pages that come first, in this order."""


COPIED = {REPO / "SECURITY.md": "security.md", REPO / "CHANGELOG.md": "changelog.md"}
"""Files beside docs/, and the pages of the site that they are."""


def on_config(config: Any) -> Any:
    """Order the navigation. The build stops at a page that no section has."""
    made = generated()
    known = sorted({*made, *(str(path.relative_to(REPO / "docs")) for path in (REPO / "docs").rglob("*.md"))})
    placed = {page for _, _, first in SECTIONS for page in first}
    config.nav = []
    for title, folder, first in SECTIONS:
        rest = [page for page in known if folder and page.startswith(folder) and page not in placed]
        config.nav.append({title: [*first, *rest]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the made pages."""
    for name, text in generated().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Links out of docs/, which are good in a checkout, lead to the repository on the site."""
    folder = (REPO / "docs" / page.file.src_uri).parent

    def outside(link: re.Match[str]) -> str:
        target = (folder / link[1]).resolve()
        if not target.exists():
            return link[0]
        if target in COPIED:
            target = REPO / "docs" / COPIED[target]
        if target.is_relative_to(REPO / "docs"):
            return f"]({os.path.relpath(target, folder)}"
        return f"]({config.repo_url}/blob/main/{target.relative_to(REPO)}"

    return re.sub(r"\]\((\.\./[^)#\s]+)", outside, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """In tables a long name may break behind its dots and slashes, and a number keeps its unit beside it."""

    def cell(found: re.Match[str]) -> str:
        text = re.sub(r"(?<=\+-) |(?<=\d) (?=(?:%|[nmu]?s|[GM]iB)(?!\w))", "\N{NO-BREAK SPACE}", found[0])
        return re.sub(r"(?<=<code>)[^<]{30,}", lambda name: re.sub(r"([./])", r"\1<wbr>", name[0]), text)

    return re.sub(r"<td.*?</td>", cell, html, flags=re.DOTALL)


def on_post_page(output: str, **_: Any) -> str:
    """Readers' browsers do not ask GitHub for the number of its stars."""
    return output.replace(' data-md-component="source"', "")


def generated() -> dict[str, str]:
    """Every made page by its path below docs/."""
    return {
        **reference.pages(),
        **troubleshooting.pages(),
        # Their links begin at the top of the repository.
        **{page: re.sub(r"\]\((?!http)", "](../", source.read_text()) for source, page in COPIED.items()},
    }
