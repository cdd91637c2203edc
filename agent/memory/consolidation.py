"""One consolidation, first stage to last: a slice of turns becomes a generation, or a reason why not.

    synthesize ▶ teacher ▶ train ▶ probe ▶ gate ─▶ publish
                                           └─▶ keep pending, report

Nothing is remembered between two runs but what never changes: the base's own replies.
"""

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import torch

from agent import prompts
from agent.catalogue import Catalogue
from agent.memory import probe
from agent.memory.adapters import AdapterStore, adapter_config, served_name
from agent.memory.bank import QuestionBank
from agent.memory.buffer import ExperienceBuffer
from agent.memory.distillation import TargetSentence, Trained, answer_kl, merged, train_adapter
from agent.memory.earlier import (
    admitted,
    never_told,
    superseded,
    to_compare,
    to_rehearse,
    up_to_date,
)
from agent.memory.encoder import SentenceEncoder
from agent.memory.job import BreathingModel, Job, Report
from agent.memory.lesson import Asked, Lesson, target_sentences, with_talk
from agent.memory.probe import Figures
from agent.memory.questions import QAPair
from agent.memory.synthesis import Synthesis, synthesize
from agent.memory.tables import StoredPair, Turn, User
from agent.memory.teacher import answer_with, transcript_of
from agent.memory.unrelated import Unrelated
from agent.model import LanguageModel
from agent.packing import Answered
from agent.settings import Settings
from agent.slots import BASE, TRAINING

logger = logging.getLogger(__name__)

MAX_PROBES = 32
MAX_NEVER_TOLD_PROBES = 24
"""Questions that the gate asks (docs/method.md, rule 7)."""

STOP_EVERY = 10
"""Steps between two looks at the stop wordings."""

MAX_STOP = 16
"""Stop wordings looked at."""

FIRST_STOP = 60
STOP_BELOW_NATS = 0.02
"""Training may stop from this step on, once the stop wordings are that near to the teacher.
Chosen, not measured."""


TYPICAL_ANSWER = 8
"""Tokens of an answer in the estimate."""

STEPS_PER_TURN = 14
"""What asking and answering about a turn costs, in training steps; measured on the house model."""


class Consolidation:
    """Turns one slice of a user's turns into a published generation, or into a reason why not.

    Holds what does not change between users: model, settings, bank, encoder, unrelated prompts.

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
        self.catalogue = catalogue
        self.bank = QuestionBank.load()
        self.encoder = SentenceEncoder(settings.encoder)
        self.unrelated = Unrelated()
        self._step_seconds: float | None = None

    def prepare(self, job: Job) -> None:
        """Load the encoder and ask the base what is the same for all users, so that the first of
        them need not wait."""
        self.encoder.load()
        self.unrelated.ask_all(
            BreathingModel(self.model, job), k=self.settings.teacher_top_k, checkpoint=job.step
        )

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
        settings, model = self.settings, BreathingModel(self.model, job)
        seed = settings.seed + turns[-1].id + fence  # another one at every attempt
        with self._adapter(user.user_id, live) as old_slot:
            material = synthesize(
                model, turns, bank=self.bank, encoder=self.encoder, catalogue=self.catalogue, live=old_slot,
                use_bank=settings.use_question_bank, rounds=settings.question_rounds, temperature=settings.question_temperature,
                seed=seed, checkpoint=job.step,
            )  # fmt: skip
            stored = self.buffer.pairs(user.user_id)
            material = admitted(
                up_to_date(material, stored),
                self.buffer.pairs(user.user_id, with_corrected=True),
            )
            if not any(pair.value for pair in material.pairs):
                return self._nothing_to_learn(user, turns, fence, material, job)
            gone = superseded(stored, material, turns, model, checkpoint=job.step)
            earlier = [pair for pair in stored if pair.id not in gone]
            before = self._said_before(user.user_id, turns[0])
            negatives = never_told(
                material, earlier, before, old_slot, model, self.bank, checkpoint=job.step
            )
            replay = to_rehearse(earlier)
            lesson = self._lesson(material, negatives, replay, old_slot, job, random.Random(seed))
            tensors = (
                self.store.load(user.user_id, live, base_hash=self.model.base_hash)
                if live
                else None
            )
            try:
                self.model.slots.start_training(tensors, seed=settings.seed)
                trained = self._train(lesson, job, seed=seed)
                figures = self._measure(material, negatives, earlier, old_slot, model, job)
                tensors = self.model.slots.trained_tensors()
            finally:
                self.model.slots.end_training()

        generation = self.store.next_generation(user.user_id)
        report = Report(
            user_id=user.user_id, generation=generation, published=True, reason="it passed its probe",
            num_turns=len(turns), num_facts=material.num_facts, num_pairs=len(material.pairs),
            num_doubtful=material.num_doubtful, num_steps=trained.num_steps, trained_tokens=trained.trained_tokens,
            loss_nats=trained.loss, figures=figures, created_at=datetime.now(UTC).isoformat(),
        )  # fmt: skip
        failure = probe.gate(
            figures, min_recall_share=settings.min_recall_share, max_earlier_loss=settings.max_earlier_loss,
            min_abstention=settings.min_abstention, max_damage_nats=settings.max_damage_nats,
        )  # fmt: skip
        if failure is not None:
            return self._reject(
                replace(report, generation=None, published=False, reason=failure), turns, fence, job
            )
        job.step("publishing", 0, 1)
        return self._publish(
            report, material, tensors, turns, fence, job,
            rehearsed=[pair.id for pair in replay], superseded=sorted(gone),
        )  # fmt: skip

    # -- outcomes -------------------------------------------------------------------------

    def _nothing_to_learn(
        self,
        user: User,
        turns: Sequence[Turn],
        fence: int,
        material: Synthesis,
        job: Job,
    ) -> Report:
        report = Report(
            user_id=user.user_id, generation=None, published=False, reason="nothing to learn", num_turns=len(turns),
            num_doubtful=material.num_doubtful, created_at=datetime.now(UTC).isoformat(),
        )  # fmt: skip
        if material.num_doubtful:  # something was told: it stays in the prompt
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
        material: Synthesis,
        tensors: dict[str, torch.Tensor],
        turns: Sequence[Turn],
        fence: int,
        job: Job,
        *,
        rehearsed: list[int],
        superseded: list[int],
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
        self.store.publish(user_id, generation, tensors, config=config, card=card)
        size = self.store.card(user_id, generation)["adapter_bytes"]
        report = replace(report, adapter_bytes=size)
        new_pairs = [
            StoredPair(
                user_id, pair.question, pair.answer, pair.value, pair.kind, pair.use == "probe", pair.turn_ids,
                generation, generation,
            )
            for pair in material.pairs
            if not pair.before
        ]  # fmt: skip
        is_live = False
        try:
            is_live = self.buffer.publish(
                user_id, fence, turn_ids=[turn.id for turn in turns], generation=generation,
                new_pairs=new_pairs, rehearsed=rehearsed, superseded=superseded, report=report.as_dict(),
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

    # -- target sentences -------------------------------------------------------------------

    def _said_before(self, user_id: str, first: Turn) -> str:
        """Return the user's messages before a turn, the newest that fit into a context."""
        turns = [turn for turn in self.buffer.turns(user_id) if turn.id < first.id]
        while turns and (
            self.model.count_tokens(said := transcript_of(turns, replies="questions"))
            > self.settings.max_context_tokens
        ):
            turns = turns[len(turns) // 8 + 1 :]
        return said if turns else ""

    def _lesson(
        self,
        material: Synthesis,
        negatives: Sequence[QAPair],
        replay: Sequence[StoredPair],
        old_slot: str,
        job: Job,
        rng: random.Random,
    ) -> Lesson:
        learned = material.of_use("train")
        # With too few wordings to hold any out, what is trained says when it is learned.
        stop = material.of_use("stop") or [pair for pair in learned if pair.value]
        stop = rng.sample(stop, min(len(stop), MAX_STOP))

        def targets(asked: Sequence[Asked], slot: str = BASE) -> list[TargetSentence]:
            return target_sentences(
                self.model, asked, k=self.settings.teacher_top_k, slot=slot, checkpoint=job.step
            )

        def asked_of(pairs: Sequence[QAPair]) -> list[Asked]:
            return [
                Asked(pair.question, pair.answer, pair.before, material.teacher_context(pair))
                for pair in pairs
            ]

        def mixed(asked: Sequence[Asked], slot: str = BASE) -> list[TargetSentence]:
            return targets(with_talk(asked, self.unrelated.small_talk, rng), slot)

        new = [pair for pair in learned if not pair.before]

        return Lesson(
            new=mixed(asked_of([pair for pair in new if pair.value]))
            + mixed(asked_of([pair for pair in new if not pair.value]), old_slot),
            told_now=targets(asked_of([pair for pair in learned if pair.before])),
            never_told=mixed(asked_of([pair for pair in negatives if pair.use == "train"])),
            # What was learned before is kept as the live generation says it.
            replay=mixed([Asked(pair.question, pair.answer) for pair in replay], old_slot),
            unrelated=self.unrelated.trained(
                BreathingModel(self.model, job), k=self.settings.teacher_top_k, checkpoint=job.step
            ),
            stop=targets(asked_of(stop)),
        )

    def _train(self, lesson: Lesson, job: Job, *, seed: int) -> Trained:
        settings = self.settings

        def is_learned(step: int) -> bool:
            if not lesson.stop or step < FIRST_STOP or step % STOP_EVERY:
                return False
            with torch.inference_mode():
                logits = self.model.answer_logits(
                    [sentence.student for sentence in lesson.stop], slot=TRAINING
                )
                loss = answer_kl(merged(sentence.teacher for sentence in lesson.stop), logits)
            return loss.item() < STOP_BELOW_NATS

        return train_adapter(
            self.model, lambda rng: lesson.draw(rng, settings.batch_size), max_steps=settings.max_steps,
            learning_rate=settings.learning_rate, seed=seed, is_learned=is_learned, checkpoint=job.step,
        )  # fmt: skip

    # -- figures ------------------------------------------------------------------------------

    def _measure(
        self, material: Synthesis, negatives: Sequence[QAPair], earlier: Sequence[StoredPair], old_slot: str,
        model: BreathingModel, job: Job,
    ) -> Figures:  # fmt: skip
        rng = random.Random(self.settings.seed)

        def some(pairs: Sequence, number: int) -> list:
            return rng.sample(pairs, min(len(pairs), number))

        def answer(questions: Sequence[str], slot: str) -> list[str]:
            return answer_with(
                model, questions, "", slot=slot, checkpoint=job.step, stage="probing"
            )

        trained = [pair for pair in material.of_use("train") if pair.value]
        return probe.measure(
            answer,
            new=some(material.of_use("probe"), MAX_PROBES),
            trained=some(trained, MAX_PROBES),
            earlier=to_compare(earlier, rng),
            never_told=[
                pair.question
                for pair in some([pair for pair in negatives if pair.use == "probe"], MAX_NEVER_TOLD_PROBES)
            ],
            slots=(BASE, old_slot, TRAINING),
            teacher_agreement=material.teacher_agreement,
            damage_nats=self.unrelated.damage(
                model, slot=TRAINING, k=self.settings.teacher_top_k, checkpoint=job.step
            ),
        )  # fmt: skip

    def _adapter(self, user_id: str, generation: int):
        name = served_name(user_id, generation) if generation else None
        return self.model.slots.adapter(
            name, lambda: self.store.load(user_id, generation, base_hash=self.model.base_hash)
        )
