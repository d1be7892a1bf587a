import random

import pytest

from hami_dra.node.arbiter import FLOOR, Word, plan, quiet_word
from hami_dra.node.own_time import FINER, Activity

BINS = 4
BUSY, TWICE = (1.0,) * BINS, (2.0,) * BINS
LOST = 0.07  # of a card, by switching between those who compute


def part(of_the_time):
    return (of_the_time,) * (BINS // FINER)


def test_a_share_that_computes_alone_owns_all_that_is_measured():
    assert plan({"one": Activity(cores=50, presence=BUSY)}) == {"one": Word(rate=1000, part=1000)}


@pytest.mark.parametrize("tenants", [2, 3, 5, 8])
def test_tenants_that_compute_all_the_time_each_own_an_equal_part_of_what_events_measure(tenants):
    words = plan({str(each): Activity(cores=10, presence=BUSY) for each in range(tenants)})
    assert {word.part for word in words.values()} == {round(1000 * (1 - LOST) / tenants)}


def test_processes_of_one_share_take_turns_like_tenants():
    words = plan({"two": Activity(cores=50, presence=TWICE), "one": Activity(cores=50, presence=BUSY)})
    assert {word.part for word in words.values()} == {round(1000 * (1 - LOST) / 3)}


def test_an_idle_neighbour_takes_nothing():
    words = plan({"busy": Activity(cores=50, presence=BUSY), "idle": Activity(cores=50)})
    assert words["busy"].part == 1000


def test_known_work_of_a_neighbour_is_all_its_own_time():
    words = plan({"long": Activity(cores=50, presence=BUSY), "short": Activity(cores=50, counted=part(0.25))})
    assert words["long"].part == round(1000 * (0.75 - LOST / 2))  # each of its slices is two switches


def test_known_work_that_is_told_before_it_is_done_takes_the_time_after_it():
    bins = {"long": Activity(50, presence=(1.0,) * 8), "short": Activity(50, counted=(1.5, 0.0, 0.0, 0.0))}
    assert plan(bins)["long"].part == round(1000 * (4 - 1.5 * (1 + 2 * LOST)) / 4)


def test_work_that_began_before_anybody_looked_has_an_even_part():
    """What begins later has a slice first."""
    before, after = (1.0,) * 4 + (0.0,) * 4, (0.0,) * 4 + (1.0,) * 4
    other = Activity(50, presence=(1.0,) * 8)
    even = round(1000 * (1 - LOST) / 2)
    assert plan({"began": Activity(50, presence=before), "other": other})["began"].part == even
    assert plan({"began": Activity(50, presence=after), "other": other})["began"].part > even


def test_short_work_beside_long_work_is_not_told_that_it_is_alone():
    """It would take a neighbour's slice between its events for its own time."""
    words = plan({"long": Activity(70, presence=BUSY), "short": Activity(30, counted=part(0.3))})
    assert words["short"].part < 1000


def test_without_cores_a_share_gets_what_is_idle_and_gives_way():
    alone = plan({"modest": Activity(0, presence=BUSY), "owner": Activity(80)})
    assert alone["modest"].rate == 1000
    beside = plan({"modest": Activity(0, presence=BUSY), "owner": Activity(80, presence=BUSY)})
    assert beside["modest"].rate <= 400
    crowded = plan({"modest": Activity(0, presence=BUSY), "owner": Activity(100, counted=part(1.0))})
    assert crowded["modest"].rate == FLOOR


def test_what_reserved_shares_leave_idle_is_divided_among_those_who_want_it():
    words = plan(
        {
            "first": Activity(0, counted=part(0.3)),
            "second": Activity(0, counted=part(0.3)),
            "soft": Activity(20, soft=True, counted=part(0.2)),
            "hard": Activity(20, counted=part(0.2), waiting=True),
        }
    )
    assert words["first"].rate == words["second"].rate == 176  # a third of 930 less the reserved 400
    assert words["soft"].rate == 376
    assert words["hard"].rate == 1000  # its own limit holds


def test_a_soft_share_is_never_told_more_than_the_card():
    assert plan({"soft": Activity(90, soft=True, counted=part(0.1))})["soft"].rate == 1000


def test_a_quiet_share_begins_with_its_cores_or_with_all_that_is_idle():
    rates = {
        quiet_word(Activity(cores, soft=soft)).rate for cores, soft in ((0, True), (0, False), (30, False))
    }
    assert rates == {1000}
    assert quiet_word(Activity(30, soft=True)).rate == 300


def test_what_a_card_loses_by_switching_is_borne_by_all_who_want_what_they_may():
    """On an H100 30 and 70 % were given 33 and 61: the smaller had all of it, the larger what was left."""
    words = plan(
        {"small": Activity(30, counted=part(0.3), waiting=True), "large": Activity(70, counted=part(0.63))}
    )
    assert (words["small"].rate, words["large"].rate) == (279, 651)
    modest = plan(
        {"small": Activity(30, counted=part(0.3), waiting=True), "large": Activity(70, counted=part(0.2))}
    )
    assert modest["small"].rate == modest["large"].rate == 1000


def test_all_others_wait_while_a_share_of_high_priority_computes():
    shares = {
        "high": Activity(20, high=True, counted=part(0.1)),
        "hard": Activity(50, counted=part(0.5)),
        "soft": Activity(20, soft=True, counted=part(0.2)),
        "none": Activity(0, counted=part(0.1)),
    }
    assert [plan(shares)[name].rate for name in ("hard", "soft", "none")] == [FLOOR] * 3
    assert plan(shares)["high"].rate == 1000
    shares["high"] = Activity(20, high=True)
    assert plan(shares)["hard"].rate == 1000


@pytest.mark.parametrize("seed", range(20))
def test_no_activity_however_strange_gives_a_hint_outside_its_range(seed):
    chance = random.Random(seed)
    shares = {
        str(each): Activity(
            cores=chance.randrange(101),
            soft=chance.random() < 0.3,
            high=chance.random() < 0.2,
            counted=chance.choice([(), part(0.5), part(7.0)]),
            presence=chance.choice([(), tuple(chance.choice([0.0, 0.01, 1.0, 300.0]) for _ in range(BINS))]),
            waiting=chance.random() < 0.5,
        )
        for each in range(chance.randrange(2, 30))
    }
    for word in plan(shares).values():
        assert 0 <= word.rate <= 1000
        assert 1 <= word.part <= 1000
