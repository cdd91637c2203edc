"""One consolidation, first stage to last: a slice of turns becomes a generation, or a reason why not.

    synthesize ▶ teacher ▶ train ▶ probe ▶ gate ─▶ publish
                                           └─▶ keep pending, report

Nothing is remembered between two runs but what never changes: the base's own replies.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime

from torch import Tensor

from agent import prompts
from agent.catalogue import Catalogue
from agent.memory import probe
from agent.memory.adapters import AdapterStore, adapter_config, served_name
from agent.memory.buffer import ExperienceBuffer
from agent.memory.job import Job, Report
from agent.memory.learning import Candidate, Learner, Past, Study, said_last
from agent.memory.tables import Turn, User
from agent.model import LanguageModel
from agent.packing import Answered
from agent.settings import Settings
from agent.slots import TRAINING

logger = logging.getLogger(__name__)

TYPICAL_ANSWER = 8
"""Tokens of an answer in the estimate."""

STEPS_PER_TURN = 14
"""What asking and answering about a turn costs, in training steps; measured on the house model."""


class Consolidation:
    """Turns one slice of a user's turns into a published generation, or into a reason why not.

    Threads: one at a time; the training slot belongs to it.
    """

    def __init__(
        self,
        model: LanguageModel,
        buffer: ExperienceBuffer,
        store: AdapterStore,
        catalogue: Catalogue,
        settings: Settings,
    ) -> None:
        self.model, self.buffer, self.store, self.settings = model, buffer, store, settings
        self.learner = Learner(model, catalogue, settings)
        self._step_seconds: float | None = None

    def estimate_seconds(self, turns: Sequence[Turn]) -> float:
        """Return about how long learning these turns will take, from one training step."""
        if self._step_seconds is None:
            prompt = tuple(self.model.encode(prompts.chat([], turns[0].message)))
            batch = [Answered(prompt, prompt[:TYPICAL_ANSWER])] * self.settings.batch_size
            began = time.monotonic()
            self.model.answer_logits(batch, slot=TRAINING).sum().backward()
            self._step_seconds = time.monotonic() - began
            for parameter in self.model.slots.training_parameters():
                parameter.grad = None
        return self._step_seconds * (self.settings.max_steps + STEPS_PER_TURN * len(turns))

    def run(self, user: User, turns: Sequence[Turn], fence: int, job: Job) -> Report:
        """Learn one slice. The old generation stays live unless the candidate passes its gate.

        Raises:
            ConsolidationError: If it was cancelled, or the training diverged.
        """
        live, _ = self.store.usable(
            user.user_id, user.live_generation, base_hash=self.model.base_hash
        )
        seed = self.settings.seed + turns[-1].id + fence  # another one at every attempt
        with self._adapter(user.user_id, live) as slot:
            past = self._past(user.user_id, live, slot, turns[0])
            study = self.learner.study(turns, past, job, seed=seed)
            if study.is_empty:
                return self._nothing_to_learn(user, turns, fence, study, job)
            candidate = self.learner.learn(study, past, job, seed=seed)
        return self._judge(user, turns, fence, study, candidate, job)

    # -- outcomes -------------------------------------------------------------------------

    def _judge(
        self, user: User, turns: Sequence[Turn], fence: int, study: Study, candidate: Candidate, job: Job
    ) -> Report:  # fmt: skip
        settings, material, trained = self.settings, study.material, candidate.trained
        generation = self.store.next_generation(user.user_id)
        report = Report(
            user_id=user.user_id, generation=generation, published=True, reason="it passed its probe",
            num_turns=len(turns), num_facts=material.num_facts, num_pairs=len(material.pairs),
            num_doubtful=material.num_doubtful, num_steps=trained.num_steps, trained_tokens=trained.trained_tokens,
            loss_nats=trained.loss, figures=candidate.figures, created_at=datetime.now(UTC).isoformat(),
        )  # fmt: skip
        failure = probe.gate(
            candidate.figures, min_recall_share=settings.min_recall_share, max_earlier_loss=settings.max_earlier_loss,
            min_abstention=settings.min_abstention, max_damage_nats=settings.max_damage_nats,
        )  # fmt: skip
        if failure is not None:
            return self._reject(
                replace(report, generation=None, published=False, reason=failure), turns, fence, job
            )
        job.step("publishing", 0, 1)
        return self._publish(report, study, candidate, turns, fence, job)

    def _nothing_to_learn(
        self,
        user: User,
        turns: Sequence[Turn],
        fence: int,
        study: Study,
        job: Job,
    ) -> Report:
        num_doubtful = study.material.num_doubtful
        report = Report(
            user_id=user.user_id, generation=None, published=False, reason="nothing to learn", num_turns=len(turns),
            num_doubtful=num_doubtful, created_at=datetime.now(UTC).isoformat(),
        )  # fmt: skip
        if num_doubtful:  # something was told: it stays in the prompt
            reason = "it is not sure of anything it read"
            return self._reject(replace(report, reason=reason), turns, fence, job)
        report = replace(report, seconds=job.finish(), stage_seconds=job.stage_seconds)
        self.buffer.skip(
            user.user_id, fence, turn_ids=[turn.id for turn in turns], report=report.as_dict()
        )
        return report

    def _reject(self, report: Report, turns: Sequence[Turn], fence: int, job: Job) -> Report:
        report = replace(report, seconds=job.finish(), stage_seconds=job.stage_seconds)
        self.buffer.reject(
            report.user_id, fence, turn_ids=[turn.id for turn in turns], report=report.as_dict()
        )
        return report

    def _publish(
        self,
        report: Report,
        study: Study,
        candidate: Candidate,
        turns: Sequence[Turn],
        fence: int,
        job: Job,
    ) -> Report:
        generation, user_id = report.generation, report.user_id
        settings = self.settings
        report = replace(report, seconds=job.finish(), stage_seconds=job.stage_seconds)
        card = report.as_dict() | {
            "base_model": self.model.name,
            "base_hash": self.model.base_hash,
            "turns": [turn.id for turn in turns],
            "recipe": settings.recipe(),
        }
        config = adapter_config(
            settings.lora_rank, settings.lora_alpha, self.model.slots.adapted, base=self.model.name
        )
        self.store.publish(user_id, generation, candidate.tensors, config=config, card=card)
        size = self.store.card(user_id, generation)["adapter_bytes"]
        report = replace(report, adapter_bytes=size)
        is_live = False
        try:
            is_live = self.buffer.publish(
                user_id, fence, turn_ids=[turn.id for turn in turns], generation=generation,
                new_pairs=study.pairs_to_store(user_id, generation), rehearsed=[pair.id for pair in study.replay],
                superseded=study.superseded, report=report.as_dict(),
            )  # fmt: skip
        finally:
            if not is_live:
                self.store.delete(user_id, generation)
        if not is_live:
            reason = "some of it was taken back or forgotten meanwhile"
            return replace(report, published=False, generation=None, reason=reason)
        logger.info(
            "Consolidated %s: generation %d, %d turns, %d facts, %.1f s.",
            user_id, generation, len(turns), report.num_facts, report.seconds,
        )  # fmt: skip
        return report

    # -- what was learned before -----------------------------------------------------------

    def _past(self, user_id: str, live: int, slot: str, first: Turn) -> Past:
        before = [turn for turn in self.buffer.turns(user_id) if turn.id < first.id]
        return Past(
            slot, self._tensors(user_id, live) if live else None, self.buffer.pairs(user_id, with_corrected=True),
            said_last(self.model, before, self.settings.max_context_tokens),
        )  # fmt: skip

    def _adapter(self, user_id: str, generation: int) -> AbstractContextManager[str]:
        name = served_name(user_id, generation) if generation else None
        return self.model.slots.adapter(name, lambda: self._tensors(user_id, generation))

    def _tensors(self, user_id: str, generation: int) -> dict[str, Tensor]:
        return self.store.load(user_id, generation, base_hash=self.model.base_hash)
