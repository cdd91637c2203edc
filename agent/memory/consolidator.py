"""When a user's experience is consolidated, in which order, and what happens on failure.

quiet, much waiting, long waiting, or asked ─▶ oldest slice ─▶ Consolidation.run ─▶ next slice
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from agent.errors import AgentError, ConsolidationError
from agent.memory.consolidation import Consolidation
from agent.memory.job import Job, Progress, Report, Turnstile
from agent.memory.learning import first_slice
from agent.memory.tables import Turn, User

logger = logging.getLogger(__name__)

PAUSE = 30
"""Seconds after an unexpected error before anybody is looked at again."""


class _Run(NamedTuple):
    """Whose turns are being learned, in which thread, and the event that cancels it."""

    user_id: str
    thread: threading.Thread
    cancelled: threading.Event


class Consolidator:
    """Consolidates users who have gone quiet, one at a time.

    Promises:
        1. One consolidation at a time: there is one training slot.
        2. Turns are marked as learned after the generation is on disk, so a crash repeats work
           and never loses a turn.
        3. A failure keeps the turns pending and the old generation live. It is logged with its
           traceback, returned as a `Report`, and not tried again until the user says something
           new or asks.

    Threads: `start` and `stop` belong to the thread that owns the app; all else may be called
    from any thread. Tests call `run_once` and need no thread and no sleep.
    """

    def __init__(
        self,
        consolidation: Consolidation,
        *,
        idle_seconds: float,
        max_wait_seconds: float,
        max_context_tokens: int,
        ask_above_seconds: float,
        turnstile: Turnstile,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._consolidation, self._buffer = consolidation, consolidation.buffer
        self._idle, self._max_wait = (
            timedelta(seconds=idle_seconds),
            timedelta(seconds=max_wait_seconds),
        )
        self._max_context_tokens = max_context_tokens
        self._ask_above_seconds = ask_above_seconds
        self._turnstile, self._now = turnstile, now
        self._worker = f"worker-{uuid.uuid4().hex[:8]}"
        self._one_at_a_time = threading.Lock()
        self._asked: set[str] = set()
        self._told_estimate: set[str] = set()
        self._agreed: set[str] = set()
        self._failed_at: dict[str, int] = {}
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._job: Job | None = None
        self._running: _Run | None = None

    # -- asked from outside --------------------------------------------------------------

    @property
    def progress(self) -> Progress | None:
        """Where the running consolidation is, None if none runs."""
        job = self._job
        return job.progress if job else None

    def ask(self, user_id: str) -> None:
        """Consolidate this user as soon as possible, on the thread. Asked again after a report that
        says how long it would take, it goes ahead (docs/method.md, rule 10)."""
        if user_id in self._told_estimate:
            self._agreed.add(user_id)
        self._asked.add(user_id)
        self._failed_at.pop(user_id, None)
        self._buffer.retry(user_id)
        self._wake.set()

    def cancel(self, user_id: str) -> bool:
        """Cancel the user's running consolidation; return whether there was one."""
        running = self._running
        if running is None or running.user_id != user_id:
            return False
        running.cancelled.set()
        return True

    def estimate_seconds(self, user_id: str) -> float:
        """Return about how long learning what waits will take; 0 if nothing does."""
        turns = self._learnable(user_id)
        return self._consolidation.estimate_seconds(turns) if turns else 0.0

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="consolidator", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a running consolidation is cancelled, its turns stay pending."""
        self._stopping.set()
        self._wake.set()
        if running := self._running:
            running.cancelled.set()
        if self._thread is not None:
            self._thread.join()

    # -- the work ---------------------------------------------------------------------------

    def run_once(self) -> list[Report]:
        """Consolidate every user who is due; return a report for each slice."""
        return [
            report
            for user in self._buffer.all_users()
            if self._is_due(user)
            for report in self.run(user.user_id, is_agreed=user.user_id in self._agreed)
        ]

    def cancel_and_wait(self, user_id: str) -> None:
        """Cancel the user's running consolidation and wait for its end, unless this thread runs it."""
        while self.cancel(user_id):
            running = self._running
            if running and running.thread is threading.current_thread():
                return
            time.sleep(0.02)

    def run(
        self,
        user_id: str,
        *,
        is_agreed: bool = True,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> list[Report]:
        """Consolidate all pending turns of a user now, slice by slice, in this thread.

        Args:
            is_agreed: False starts nothing that would take long; the report then says how long.
        """
        reports: list[Report] = []
        with self._one_at_a_time:
            self._asked.discard(user_id)
            self._agreed.discard(user_id)
            turns: list[Turn] = []
            self._running = _Run(user_id, threading.current_thread(), threading.Event())
            try:
                self._go_back(user_id)
                if not is_agreed and (report := self._too_long(user_id)):
                    return [report]
                self._told_estimate.discard(user_id)
                # A slice that fails is tried once more, then set aside: later ones don't wait for it.
                while not self._stopping.is_set() and (turns := self._next_slice(user_id)):
                    reports.append(
                        self._run_slice(user_id, turns, self._running.cancelled, on_progress)
                    )
            except AgentError as error:
                reports.append(self._failed(user_id, turns, str(error)))
            except Exception as error:  # promise 3
                logger.exception("Consolidation of %s failed; the live generation stays.", user_id)
                kind = type(error).__name__
                reason = f"an unexpected {kind}; the log has its traceback"
                reports.append(self._failed(user_id, turns, reason))
            finally:
                self._running = None
        return reports

    def _run_slice(
        self,
        user_id: str,
        turns: list[Turn],
        cancelled: threading.Event,
        on_progress: Callable[[Progress], None],
    ) -> Report:
        fence = self._buffer.leases.take(user_id, self._worker, seconds=3600)
        user = self._buffer.user(user_id)
        if fence is None or user is None:
            raise ConsolidationError(
                "Another worker is at it." if user else "The user was forgotten."
            )
        self._job = Job(user_id, self._turnstile, cancelled=cancelled, on_progress=on_progress)
        try:
            return self._consolidation.run(user, turns, fence, self._job)
        finally:
            self._job = None
            self._buffer.leases.release(user_id, fence)

    def _too_long(self, user_id: str) -> Report | None:
        seconds = self.estimate_seconds(user_id)
        if seconds <= self._ask_above_seconds:
            return None
        self._told_estimate.add(user_id)
        return self._failed(
            user_id, self._learnable(user_id),
            f"it would take about {seconds / 60:.0f} minutes; ask again to start it",
        )  # fmt: skip

    def _go_back(self, user_id: str) -> None:
        """Make the newest generation live that can be used and knows no turn that was taken back
        (docs/method.md, rule 11); what later ones knew is learned again."""
        user = self._buffer.user(user_id)
        if user is None:
            return
        known = min((turn.learned_in - 1 for turn in self._taken_back(user)), default=None)
        newest = user.live_generation if known is None else min(user.live_generation, known)
        live, _ = self._consolidation.store.usable(
            user_id, newest, base_hash=self._consolidation.model.base_hash
        )
        if known is not None:  # first of all: if it fails, the turn is still found as taken back
            self._consolidation.store.delete_after(user_id, live)
            # Their numbers are given again: no slot may hold the weights that had them.
            self._consolidation.model.slots.drop(f"{user_id}@")
        if live < user.live_generation:
            self._buffer.roll_back(user_id, live)

    def _taken_back(self, user: User) -> list[Turn]:
        """Return the turns that were retracted after they had been learned."""
        return [
            turn
            for turn in self._buffer.turns(user.user_id, with_retracted=True)
            if turn.retracted_at is not None and turn.learned_in
        ]

    def _failed(self, user_id: str, turns: list[Turn], reason: str) -> Report:
        report = Report(
            user_id, None, False, reason, len(turns), created_at=self._now().isoformat()
        )
        try:
            if waiting := self._learnable(user_id):
                self._failed_at[user_id] = waiting[-1].id
            if self._buffer.user(user_id) is not None:
                self._buffer.add_report(user_id, report.as_dict())
        except AgentError as error:  # the disk is full, which may be what failed before
            logger.warning("The report on %s could not be kept. %s", user_id, error)
        return report

    def _next_slice(self, user_id: str) -> list[Turn]:
        """Return the oldest pending turns that fit into one context, without the unlearned ones."""
        return first_slice(
            self._consolidation.model, self._learnable(user_id), self._max_context_tokens
        )

    def _learnable(self, user_id: str) -> list[Turn]:
        user = self._buffer.user(user_id)
        if user is None:
            return []
        live, _ = self._consolidation.store.usable(
            user_id, user.live_generation, base_hash=self._consolidation.model.base_hash
        )
        pending = self._buffer.pending(user_id, live_generation=live)
        return [turn for turn in pending if not turn.is_unlearned]

    def _is_due(self, user: User) -> bool:
        if any(self._now() - turn.retracted_at > self._idle for turn in self._taken_back(user)):
            return True
        turns = self._learnable(user.user_id)
        if not turns or self._failed_at.get(user.user_id) == turns[-1].id:
            return False
        if user.user_id in self._asked:
            return True
        num_tokens = sum(
            self._consolidation.model.count_tokens(turn.message + turn.reply) for turn in turns
        )
        return (
            self._now() - turns[-1].created_at > self._idle
            or self._now() - turns[0].created_at > self._max_wait
            or num_tokens > self._max_context_tokens
        )

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._one_at_a_time:  # asks nothing twice
                    self._consolidation.learner.prepare(
                        Job("", self._turnstile, cancelled=self._stopping)
                    )
                self.run_once()
            except AgentError as error:
                if not self._stopping.is_set():
                    logger.error("Nobody can be consolidated at the moment. %s", error)
            except Exception:  # the thread must outlive it: nobody would be learned any more
                logger.exception("Nobody could be consolidated.")
                self._stopping.wait(timeout=PAUSE)
            self._wake.wait(timeout=1.0)
            self._wake.clear()
