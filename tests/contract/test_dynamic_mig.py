"""A card in MIG mode is cut when a claim has a part of it, and mended again after it. Simulated at NVML."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.native

REPO = Path(__file__).parents[2]


def run(scenario: str) -> None:
    """One of `dynamic_mig`, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="hami", dir="/tmp") as folder:  # names of sockets are short
        done = subprocess.run(
            [sys.executable, "-m", "tests.contract.dynamic_mig", scenario, f"{folder}/n"],
            cwd=REPO,
            env=os.environ | {"PYTHONPATH": f"{REPO / 'src'}:{REPO}"},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def test_every_instance_that_a_card_can_be_cut_into_is_published_and_not_the_card() -> None:
    run("published")


def test_prepare_makes_the_instance_and_unprepare_destroys_it() -> None:
    run("made_and_destroyed")


def test_cards_that_are_not_cut_are_shared_as_ever() -> None:
    run("beside_a_share")


def test_instances_that_a_reboot_destroyed_are_made_again_at_the_start() -> None:
    run("rebuilt")


def test_no_container_starts_before_the_driver_has_made_its_device_nodes() -> None:
    run("without_device_nodes")


def test_slices_that_are_given_away_twice_are_refused() -> None:
    run("given_away_twice")


def test_a_card_that_an_administrator_has_cut_is_left_as_it_is() -> None:
    run("cut_by_an_administrator")


def test_an_instance_that_somebody_made_beside_ours_stays() -> None:
    run("cut_by_hand_beside_ours")


def test_a_plugin_that_starts_on_a_card_that_was_cut_beside_ours_leaves_a_pod_its_instance() -> None:
    run("cut_by_hand_and_restarted")


def test_what_a_crash_left_half_made_is_finished_or_forgotten() -> None:
    run("left_by_a_crash")


def test_a_cut_card_that_is_lost_keeps_no_claim_of_another_card_waiting() -> None:
    run("lost")


def test_a_note_of_instances_that_a_power_cut_left_damaged_keeps_no_plugin_from_starting() -> None:
    run("note_after_a_power_cut")


def test_an_instance_that_cannot_be_made_keeps_no_claim_of_another_card_waiting() -> None:
    run("cannot_be_made")


def test_an_instance_that_is_destroyed_while_the_plugin_looks_is_nobody_elses() -> None:
    run("destroyed_while_looked_for")
