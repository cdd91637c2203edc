"""A running consolidation lets replies go first."""

import threading
import time

from agent.memory.job import Job, Turnstile


def test_replies_go_first_but_not_for_ever():
    turnstile = Turnstile()
    job = Job("ada", turnstile, cancelled=threading.Event())
    with turnstile.reply():
        time.sleep(0.1)  # work of the last step
        began = time.monotonic()
        job.step(
            "training", 0, 4
        )  # waits three times as long, then goes on although a reply streams
        assert 0.25 < time.monotonic() - began < 3


def test_a_step_goes_on_as_soon_as_the_reply_has_ended():
    turnstile = Turnstile()
    job = Job("ada", turnstile, cancelled=threading.Event())
    has_begun = threading.Event()

    def reply():
        with turnstile.reply():
            has_begun.set()
            time.sleep(0.2)

    thread = threading.Thread(target=reply)
    thread.start()
    has_begun.wait()
    turnstile._resumed_at -= 100  # a long step came before
    began = time.monotonic()
    job.step("training", 0, 4)
    assert 0.1 < time.monotonic() - began < 3
    thread.join()
