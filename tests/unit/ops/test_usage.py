"""What a share used between two looks."""

from hami_dra.ops.usage import Sample, Usage, between, from_metrics


def use(share, compute_s, throttled_s=0.0):
    known = {"node": "a", "card": "0", "namespace": "", "pod": "", "container": "", "share": share}
    amounts = {"memory": 0, "memory_limit": 1, "core_limit": 0.5, "refused": 0, "processes": 1}
    return Usage(
        **known,
        **amounts,
        utilization=None,
        compute_s=compute_s,
        throttled_s=throttled_s,
        throttled=None,
    )


def looked(before, now, span=2.0):
    seen = between(Sample(10.0, before, {}), Sample(10.0 + span, now, {}))
    return [(each.utilization, each.throttled) for each in seen.shares]


def test_compute_and_throttling_are_those_of_the_time_between():
    assert looked([use("s", 1.0, 3.0)], [use("s", 1.5, 4.0)]) == [(0.25, 0.5)]


def test_of_a_share_that_was_not_there_or_whose_ledger_began_anew_nothing_is_known_yet():
    assert looked([], [use("s", 1.0)]) == [(None, None)]
    assert looked([use("s", 9.0)], [use("s", 1.0)]) == [(None, None)]
    assert looked([use("s", 1.0)], [use("s", 1.0)], span=0.0) == [(None, None)]


def test_several_processes_that_wait_together_are_held_back_all_the_time_at_most():
    assert looked([use("s", 0.0, 0.0)], [use("s", 0.0, 6.0)]) == [(0.0, 1.0)]


def test_of_a_share_whose_ledger_and_card_cannot_be_read_the_limits_are_shown():
    """The plugin's metrics then lack its use, and the card's own."""
    labels = 'node="a",device_uuid="GPU-1",namespace="n",pod="p",container="c",share="s"'
    limits = f"hami_vgpu_memory_limit_bytes{{{labels}}} 1024\nhami_vgpu_core_limit_ratio{{{labels}}} 0.5\n"
    (seen,) = from_metrics(limits)
    assert (seen.card, seen.memory, seen.memory_limit, seen.core_limit) == ("GPU-1", None, 1024, 0.5)
    (seen,) = from_metrics(
        f"{limits}hami_vgpu_memory_used_bytes{{{labels}}} 0\n"
        'hami_host_gpu_memory_total_bytes{node="a",device_index="0",device_uuid="GPU-1"} 2048\n'
    )
    assert (seen.card, seen.memory) == ("0", 0)
