"""Panels, rows and variables as Grafana reads them. A panel's help says in a sentence what it shows."""

from __future__ import annotations

from typing import Any

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24

Panel = dict[str, Any]


def queries(*pairs: tuple[str, str]) -> list[Panel]:
    """(expression, legend)."""
    return [
        {"refId": chr(65 + i), "expr": expression, "legendFormat": legend, "datasource": SOURCE}
        for i, (expression, legend) in enumerate(pairs)
    ]


def panel(
    kind: str, title: str, help: str, unit: str, width: int, height: int, *pairs: tuple[str, str]
) -> Panel:
    """What all kinds of panels have. PAIRS: as for `queries`; UNIT: a name of Grafana's."""
    defaults: Panel = {"unit": unit, "min": 0}
    if unit == "percentunit":
        defaults["max"] = 1
    return {
        "type": kind,
        "title": title,
        "description": help,
        "datasource": SOURCE,
        "targets": queries(*pairs),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "gridPos": {"w": width, "h": height},
    }


def figure(
    title: str, help: str, expression: str, unit: str = "short", *, bad_from: float | None = None
) -> Panel:
    """One number with its course; orange from BAD_FROM on."""
    made = panel("stat", title, help, unit, 4, 4, (expression, ""))
    made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "colorMode": "value"}
    steps: list[Panel] = [{"color": "text", "value": None}]
    if bad_from is not None:
        steps.append({"color": "orange", "value": bad_from})
    made["fieldConfig"]["defaults"]["thresholds"] = {"mode": "absolute", "steps": steps}
    return made


def lines(title: str, help: str, unit: str, *pairs: tuple[str, str], stack: bool = False) -> Panel:
    """Courses over time; with STACK one upon the other."""
    made = panel("timeseries", title, help, unit, 12, 8, *pairs)
    custom = {"fillOpacity": 25 if stack else 8, "showPoints": "never", "lineWidth": 2}
    if stack:
        custom["stacking"] = {"mode": "normal"}
        made["fieldConfig"]["defaults"].pop("max", None)
    made["fieldConfig"]["defaults"]["custom"] = custom
    made["options"] = {
        "legend": {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"]}
    }
    return made


def bars(title: str, help: str, unit: str, expression: str, legend: str) -> Panel:
    """A bar for each series that is there now."""
    made = panel("bargauge", title, help, unit, 12, 8, (expression, legend))
    made["targets"][0]["instant"] = True
    made["options"] = {
        "orientation": "horizontal",
        "displayMode": "gradient",
        "reduceOptions": {"calcs": ["lastNotNull"]},
    }
    return made


def table(title: str, help: str, unit: str, expression: str, *hidden: str) -> Panel:
    """A row for each series that is there now, without the HIDDEN labels."""
    made = panel("table", title, help, unit, 12, 8, (expression, ""))
    made["targets"][0] |= {"format": "table", "instant": True}
    excluded = dict.fromkeys(("Time", *hidden), True)
    made["transformations"] = [{"id": "organize", "options": {"excludeByName": excluded}}]
    return made


def laid_out(panels: list[Panel]) -> list[Panel]:
    """Left to right, top to bottom."""
    x = y = row = 0
    for number, each in enumerate(panels, 1):
        place = each["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, row = 0, y + row, 0
        place |= {"x": x, "y": y}
        x, row = x + place["w"], max(row, place["h"])
        each["id"] = number
    return panels


def variable(name: str, query: str) -> Panel:
    """A choice at the top of a dashboard: all values that QUERY finds."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard(name: str, title: str, variables: list[Panel], panels: list[Panel]) -> Panel:
    """The whole dashboard hami-NAME."""
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    links = [{"type": "dashboards", "tags": ["hami"], "title": "hami", "asDropdown": False, "keepTime": True}]
    return {
        "uid": f"hami-{name}",
        "title": title,
        "tags": ["hami", "gpu"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "editable": True,
        "links": links,
        "templating": {"list": [source, *variables]},
        "panels": laid_out(panels),
    }


RATE = "[$__rate_interval]"
