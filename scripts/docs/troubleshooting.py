"""One page for each check of `hami doctor`, made from the check itself."""

from __future__ import annotations

from hami_dra.ops.checks import CHECKS, Check

INDEX = """# Troubleshooting

`hami doctor` checks all of this and names the page that helps. On a laptop it needs only a kubeconfig; on
a node it also checks the host's own files.

<!-- run: cluster, exit any -->
```
hami doctor
```

If a single Pod is waiting, `hami explain POD` says why. For an alert, see its
[runbook](../runbooks/index.md).

| check | expected | otherwise |
|---|---|---|
"""


def pages() -> dict[str, str]:
    """The index and a page for each check."""
    rows = [f"| [{check.id}]({check.id}.md) | {check.expected} | {check.title} |" for check in CHECKS]
    made = {f"troubleshooting/{check.id}.md": _page(check) for check in CHECKS}
    return {"troubleshooting/index.md": INDEX + "\n".join(rows) + "\n", **made}


def _page(check: Check) -> str:
    # What mends a fault cannot be run where there is none.
    mend = "\n\n".join(
        f"<!-- not run: remedy -->\n{part}" if part.startswith("```\n") else part for part in check.mend
    )
    return f"""# {check.title}

| check | expected |
|---|---|
| `{check.id}` | {check.expected} |

{check.why}

## Fix it

{mend}

Then run `hami doctor` again.
"""
