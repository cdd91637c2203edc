"""A running consolidation as others see it: progress, cancel, and the report at its end."""

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from agent.errors import ConsolidationError
from agent.memory.probe import Figures
from agent.model import LanguageModel

TRIM_EVERY = 5
"""Steps of a stage after which memory is given back: 1.6 instead of 2.2 GB at the peak, for a second
of a consolidation. Measured: docs/lab_book.md."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running consolidation is; can be read from any thread."""

    user_id: str
    stage: str
    done: int
    total: int
    loss: float | None
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one slice, for the user, the card, and the scripts."""

    user_id: str
    generation: int | None
    """The published generation; None if nothing was published."""
    published: bool
    reason: str
    """Why nothing was published, or what was: one clause for a person."""
    num_turns: int
    num_facts: int = 0
    num_pairs: int = 0
    num_doubtful: int = 0
    num_steps: int = 0
    trained_tokens: int = 0
    loss_nats: float | None = None
    figures: Figures | None = None
    adapter_bytes: int = 0
    seconds: float = 0.0
    stage_seconds: dict[str, float] | None = None
    created_at: str = ""

    def as_dict(self) -> dict:
        """Return the report flat, as it is stored and printed."""
        flat = asdict(self)
        figures = flat.pop("figures") or dict.fromkeys(Figures.__dataclass_fields__)
        return flat | figures


class Turnstile:
    """Lets replies go first, and the consolidator at least one step in four.

    Threads: `reply` from any thread that answers, `give_way` from the consolidator's.
    """

    def __init__(self) -> None:
        self._quiet = threading.Condition()
        self._num_replies = 0
        self._resumed_at = time.monotonic()

    @contextmanager
    def reply(self) -> Iterator[None]:
        with self._quiet:
            self._num_replies += 1
        try:
            yield
        finally:
            with self._quiet:
                self._num_replies -= 1
                self._quiet.notify_all()

    def give_way(self) -> None:
        """Wait while replies stream, at most three times as long as the last step took."""
        worked = time.monotonic() - self._resumed_at
        with self._quiet:
            self._quiet.wait_for(lambda: self._num_replies == 0, timeout=min(3 * worked, 5.0))
        self._resumed_at = time.monotonic()


class Job:
    """One running consolidation: its progress, its stages; it ends at the next step once `cancelled`
    is set."""

    def __init__(
        self,
        user_id: str,
        turnstile: Turnstile,
        *,
        cancelled: threading.Event,
        on_progress: Callable[[Progress], None] = lambda p: None,
    ) -> None:
        self.user_id, self._turnstile, self._on_progress = user_id, turnstile, on_progress
        self._cancelled = cancelled
        self._began = time.monotonic()
        self._stage_began = self._began
        self.progress = Progress(user_id, "starting", 0, 1, None, 0.0, None)
        self.stage_seconds: dict[str, float] = {}

    def step(self, stage: str, done: int, total: int, loss: float = float("nan")) -> None:
        """Note the progress, give way to replies, and stop here if cancelled."""
        if self._cancelled.is_set():
            raise ConsolidationError("It was cancelled: the old generation stays, the turns wait.")
        now = time.monotonic()
        is_new_stage = stage != self.progress.stage
        if is_new_stage or (done != self.progress.done and done % TRIM_EVERY == 0):
            give_memory_back()
        if is_new_stage:
            self._close_stage(now)
        spent = now - self._stage_began
        left = spent / done * (total - done) if done and total else None
        self.progress = Progress(
            self.user_id,
            stage,
            done,
            total,
            loss if loss == loss else None,
            now - self._began,
            left,
        )
        self._on_progress(self.progress)
        self._turnstile.give_way()

    def breathe(self) -> None:
        """Give way inside a stage, token by token."""
        self.step(
            self.progress.stage,
            self.progress.done,
            self.progress.total,
            self.progress.loss or float("nan"),
        )

    def finish(self) -> float:
        self._close_stage(time.monotonic())
        return time.monotonic() - self._began

    def _close_stage(self, now: float) -> None:
        stage = self.progress.stage
        self.stage_seconds[stage] = round(
            self.stage_seconds.get(stage, 0.0) + now - self._stage_began, 2
        )
        self._stage_began = now


def give_memory_back() -> None:
    """Return free memory to the system. Batches of ever new lengths leave gaps in the heap of glibc,
    which keeps them; other C libraries don't."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


class BreathingModel:
    """The model as a consolidation sees it: every token of a long generation gives way."""

    def __init__(self, model: LanguageModel, job: Job) -> None:
        self._model, self._job = model, job

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def generate(self, batch: Sequence, **options: object) -> list[str]:
        return self._model.generate(batch, on_token=self._job.breathe, **options)
