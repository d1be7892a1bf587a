"""docs/metrics.md is what the code says."""

from pathlib import Path

from tests.support import scripts


def test_the_page_of_metrics_is_up_to_date() -> None:
    reference = scripts.load("metrics-reference")
    assert Path(reference.PAGE).read_text() == reference.page(), "run scripts/metrics-reference"


def test_no_two_tables_have_a_metric_of_the_same_name() -> None:
    reference = scripts.load("metrics-reference")
    names = [
        family.name for table in (*reference.ON_NODES, *reference.OF_THE_MONITOR) for family in table.families
    ]
    assert len(names) == len(set(names))
