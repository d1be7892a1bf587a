"""`hami verify`: does the rollout keep its promises now?"""

from __future__ import annotations

import dataclasses
import sys
import time

import click

from hami_dra.cli import options

PAUSE_S = 2.0


@click.command()
@options.cluster
@click.option(
    "--wait",
    type=click.IntRange(0, 24 * 3600),
    default=0,
    metavar="SECONDS",
    help="Try again for as long as that.",
)
@click.option(
    "--answers", multiple=True, metavar="URL", help="Only ask whether URL answers; may be repeated."
)
@options.output("table", "json", "yaml")
def verify(
    kubeconfig: str | None, context: str | None, wait: int, answers: tuple[str, ...], output: str
) -> None:
    """Try the rollout: the plugin on each node, cards that can be shared, admission that converts.

    Nothing is created. `hami doctor` looks for causes, this tells whether it works; `helm test` runs it with
    --answers.

    Exit code 0: every promise is kept; 1: one is not; 2: could not look.

    \b
    Examples:
      hami verify --wait 120
      hami verify --answers http://hami-hami-dra-monitor.hami-system:8000/readyz
    """
    from rich.text import Text

    from hami_dra.cli import look
    from hami_dra.cli.connect import connect
    from hami_dra.ops import verify as promises

    end = time.monotonic() + wait

    def more_time() -> bool:
        time.sleep(min(PAUSE_S, max(0.0, end - time.monotonic())))
        return time.monotonic() < end

    if answers:
        found = promises.until(lambda: [promises.answers(url) for url in answers], more_time)
    else:
        client = connect(kubeconfig, context)
        found = promises.until(lambda: promises.cluster(client), more_time)
    if output == "table":
        for outcome in found:
            severity = "ok" if not outcome.problem else "error" if outcome.seen else "unknown"
            lead = Text.assemble(look.mark(severity), f" {outcome.promise}  ")
            look.show(look.paragraph(lead, outcome.problem))
    else:
        look.machine([dataclasses.asdict(outcome) for outcome in found], output)
    broken = [outcome for outcome in found if outcome.problem]
    sys.exit(0 if not broken else 1 if any(outcome.seen for outcome in broken) else 2)
