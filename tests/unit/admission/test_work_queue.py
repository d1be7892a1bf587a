"""The controller's queue, with several threads at its end."""

import threading
from types import SimpleNamespace

import pytest

from hami_dra.admission import work_queue

KEY, OTHER = ("ml", "train"), ("ml", "serve")
SOON = 60.0


@pytest.fixture
def queue(monkeypatch):
    monkeypatch.setattr(work_queue, "FIRST_PAUSE_S", 0.01)
    return work_queue.WorkQueue()


def test_a_key_that_is_worked_on_is_not_given_to_a_second_thread_and_another_key_is(queue):
    queue.add(KEY)
    assert queue.get(SOON) == KEY
    queue.add(KEY)
    queue.add(OTHER)
    assert queue.get(SOON) == OTHER
    assert queue.get(0.0) is None


def test_what_changed_while_a_key_was_worked_on_is_worked_on_afterwards(queue):
    queue.add(KEY)
    assert queue.get(SOON) == KEY
    queue.add(KEY)
    queue.done(KEY)
    assert queue.get(SOON) == KEY
    queue.done(KEY)
    assert queue.get(0.0) is None


def test_a_thread_that_waits_is_woken_by_the_end_of_another_ones_work(queue):
    queue.add(KEY)
    assert queue.get(SOON) == KEY
    queue.add(KEY)
    found = []
    waiting = threading.Thread(target=lambda: found.append(queue.get(60.0)))
    waiting.start()
    queue.done(KEY)
    waiting.join(SOON)
    assert found == [KEY]


def test_a_key_that_failed_comes_again_by_itself_and_is_forgotten_once_it_succeeds(queue):
    queue.add(KEY)
    for _ in range(3):
        assert queue.get(SOON) == KEY
        queue.retry(KEY)
    assert queue.get(SOON) == KEY
    queue.done(KEY)
    assert queue.get(0.1) is None


def test_pauses_double_with_each_failure_and_begin_anew_after_a_success(monkeypatch):
    now = 0.0
    monkeypatch.setattr(work_queue, "time", SimpleNamespace(monotonic=lambda: now))
    queue = work_queue.WorkQueue()
    for succeeds in (True, False):
        queue.add(KEY)
        for pause in (0.2, 0.4, 0.8):
            assert queue.get(0.0) == KEY
            queue.retry(KEY)
            now += pause - 0.01
            assert queue.get(0.0) is None
            now += 0.02
        assert queue.get(0.0) == KEY
        if succeeds:
            queue.done(KEY)
