"""A real Prometheus on loopback, for as long as a test looks at it."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import prometheus
from tests.support.ports import free_port
from tests.support.waiting import until


class PrometheusServer:
    """Scrapes TARGETS (name -> host:port) every second. Everything of it lies in FOLDER."""

    def __init__(self, folder: Path, targets: dict[str, str], rules: Path) -> None:
        port = free_port()
        self._address = f"http://127.0.0.1:{port}"
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {"job_name": name, "honor_labels": True, "static_configs": [{"targets": [target]}]}
                for name, target in targets.items()
            ],
        }
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(configuration))
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                prometheus.folder() / "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        self._wait(len(targets))

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that answers EXPRESSION now."""
        answer = self._get("/api/v1/query", query=expression)
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def series(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """`query` once there is an answer: a scrape that takes longer than its second leaves a gap."""
        found: list[tuple[dict[str, str], float]] = until(lambda: self.query(expression), expression)
        return found

    def value(self, expression: str) -> float | None:
        """The value of the only series; None when there is none (yet)."""
        found = self.query(expression)
        assert len(found) <= 1, f"{len(found)} series answer {expression}: {found}"
        return found[0][1] if found else None

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        self._log.close()

    def _wait(self, targets: int) -> None:
        def reached() -> bool:
            with suppress(OSError):
                return len([up for _, up in self.query("up") if up == 1]) == targets
            return False

        try:
            until(reached, f"Prometheus to reach its targets; see {self._log.name}")
        except AssertionError:
            self.stop()
            raise

    def _get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(
            f"{self._address}{path}?{urllib.parse.urlencode(query)}", timeout=10
        ) as answer:
            return json.load(answer)
