"""The charts' tests render as we do."""

from tests.charts.conftest import render

__all__ = ["render"]
