"""What the agent says is each share's own time, beside a card that divides itself as an H100 does."""

from dataclasses import dataclass, field

import pytest

from hami_dra.node.own_time import FINER, Activity, own_parts

STEP, BIN = 0.01, 1.048576  # ms
SLICE, SWITCH = 2.09, 0.15
WINDOW = 96  # bins


@dataclass
class Tenant:
    """A program that launches pieces of `length` ms, each `gap` ms after the last one's end."""

    length: float
    gap: float = 0.0
    counted: bool = False
    ready_at: float = 0.0
    left: float = 0.0
    begun_at: float | None = None
    own: list[float] = field(default_factory=list)
    presence: list[float] = field(default_factory=list)

    def wants(self, now):
        return self.left > 0 or now >= self.ready_at

    def run(self, now):
        if self.left <= 0:
            self.left, self.begun_at = (
                self.length,
                now if self.begun_at is None or self.gap else self.begun_at,
            )
        self.left -= STEP
        if self.left <= 0:
            self.ready_at, self.left = now + self.gap, 0.0
        return self.left <= 0 and self.gap > 0


def card(tenants, duration):
    """Let them compute in turns, each for a slice or until it has no work: what they `own` and measure."""
    bins = int(duration / BIN) + 1
    for each in tenants:
        each.own, each.presence = [0.0] * bins, [0.0] * bins
    turn, slice_left, switching = 0, SLICE, 0.0
    for step in range(int(duration / STEP)):
        now = step * STEP
        at = int(now / BIN)
        runner = tenants[turn]
        ended = False
        if switching > 0:
            switching -= STEP
        elif runner.wants(now) and slice_left > 0:
            slice_left -= STEP
            ended = runner.run(now)
            runner.own[at] += STEP / BIN
        if slice_left <= 0 or not runner.wants(now):
            waiting = [i for i in range(1, len(tenants)) if tenants[(turn + i) % len(tenants)].wants(now)]
            slice_left = SLICE
            if waiting:
                turn, switching = (turn + waiting[0]) % len(tenants), SWITCH
        for each in tenants:
            each.presence[at] += (each.begun_at is not None) * STEP / BIN
        if ended:
            runner.begun_at = None


def told(tenant, begin):
    """What its ledger says of a window of bins."""
    of = slice(begin, begin + WINDOW)
    if not tenant.counted:
        return Activity(50, presence=tuple(tenant.presence[of]))
    own = tenant.own[of]
    return Activity(50, counted=tuple(sum(own[at : at + FINER]) / FINER for at in range(0, WINDOW, FINER)))


def tiny():
    return Tenant(0.02, counted=True)


def sync():
    return Tenant(0.5, gap=0.03, counted=True)


def short(gap):
    return Tenant(2.0, gap)


def medium(gap):
    return Tenant(6.0, gap)


def long(gap):
    return Tenant(50.0, gap)


PAIRS = {
    "long beside long": lambda: (long(0), long(0)),
    "long that waits beside long": lambda: (long(70), long(0)),
    "long that waits beside tiny": lambda: (long(70), tiny()),
    "short beside tiny": lambda: (short(4.6), tiny()),
    "short beside sync": lambda: (short(4.6), sync()),
    "short beside long": lambda: (short(4.6), long(0)),
    "short beside medium": lambda: (short(4.6), medium(0)),
    "medium beside tiny": lambda: (medium(14.0), tiny()),
    "medium beside sync": lambda: (medium(14.0), sync()),
    "medium beside long": lambda: (medium(14.0), long(0)),
    "medium beside medium": lambda: (medium(14.0), medium(2.0)),
    "three at once": lambda: (medium(0), medium(0), medium(0)),
}


def told_and_true(tenants, early=0):
    """For each tenant that is measured, what the agent says is its own over what is; in windows of 1.2 s."""
    card(tenants, 1500.0)
    said, own = [0.0] * len(tenants), [0.0] * len(tenants)
    for begin in range(100, 1300, 26):
        shares = {at: told(each, begin + early * each.counted) for at, each in enumerate(tenants)}
        for at, part in own_parts(shares).items():
            said[at] += part * sum(tenants[at].presence[begin : begin + WINDOW])
            own[at] += sum(tenants[at].own[begin : begin + WINDOW])
    return [said[at] / own[at] for at, each in enumerate(tenants) if not each.counted]


@pytest.mark.parametrize("pair", PAIRS)
def test_of_the_time_that_events_measured_the_part_is_told_that_was_the_shares_own(pair):
    for ratio in told_and_true(PAIRS[pair]()):
        assert ratio == pytest.approx(1.0, rel=0.08)


@pytest.mark.parametrize("pair", ["long that waits beside tiny", "short beside tiny", "medium beside tiny"])
def test_known_work_that_is_told_early_takes_no_more_than_it_took(pair):
    assert told_and_true(PAIRS[pair](), early=2)[0] == pytest.approx(1.0, rel=0.05)


def test_nothing_is_divided_by_none():
    parts = own_parts({"one": Activity(30, presence=(0.0,) * 8), "two": Activity(30, counted=(0.0,) * 4)})
    assert parts == {"one": 1.0, "two": 1.0}
