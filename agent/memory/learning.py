"""Turns of one slice become the weights of a candidate, and its figures.

    study ─▶ what can be learned ─▶ lesson ─▶ train ─▶ measure

Nothing here knows of users, of disks or of gates: what was learned before comes in as a `Past`, what
is learned goes out as a `Candidate`. `evals/arms/` change single steps of it to see what each is worth.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from agent.catalogue import Catalogue
from agent.memory import probe
from agent.memory.bank import QuestionBank
from agent.memory.distillation import TargetSentence, Trained, mean_kl, train_adapter
from agent.memory.earlier import (
    admitted,
    never_told,
    superseded,
    to_compare,
    to_rehearse,
    up_to_date,
)
from agent.memory.encoder import SentenceEncoder
from agent.memory.job import BreathingModel, Job
from agent.memory.lesson import Asked, Lesson, target_sentences, with_talk
from agent.memory.probe import Figures
from agent.memory.questions import QAPair, drop_near_duplicates
from agent.memory.synthesis import Synthesis, synthesize
from agent.memory.tables import StoredPair, Turn
from agent.memory.teacher import answer_with, transcript_of
from agent.memory.unrelated import Unrelated
from agent.model import LanguageModel
from agent.settings import Settings
from agent.slots import BASE, TRAINING

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


@dataclass(frozen=True)
class Past:
    """What was learned before the slice."""

    slot: str = BASE
    """Of the live generation."""
    tensors: dict[str, Tensor] | None = None
    """Its weights, with which training begins; None to begin anew."""
    pairs: Sequence[StoredPair] = ()
    """Least recently rehearsed first; those too that a later message has replaced."""
    said: str = ""
    """Transcript of the turns before the slice."""

    @property
    def live_pairs(self) -> list[StoredPair]:
        return [pair for pair in self.pairs if pair.status == "live"]


@dataclass(frozen=True)
class Study:
    """What a slice has to teach."""

    material: Synthesis
    negatives: list[QAPair]
    earlier: list[StoredPair]
    """Of the past, what still holds."""
    superseded: list[int]
    """Ids of the past's pairs that no longer hold."""

    @property
    def is_empty(self) -> bool:
        """Is there nothing about the user that can be asked?"""
        return not any(pair.value for pair in self.material.pairs)

    @property
    def replay(self) -> list[StoredPair]:
        return to_rehearse(self.earlier)

    def pairs_to_store(self, user_id: str, generation: int) -> list[StoredPair]:
        """Return what is kept of the pairs, for audit, replay, probes and correction."""
        return [
            StoredPair(
                user_id, pair.question, pair.answer, pair.value, pair.kind, pair.use == "probe", pair.turn_ids,
                generation, generation,
            )
            for pair in self.material.pairs
            if not pair.before
        ]  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """What came out: weights, what they cost, what they are worth."""

    tensors: dict[str, Tensor]
    trained: Trained
    figures: Figures


class Learner:
    """Learns one slice at a time into the training slot of a model.

    Holds what does not change between users: model, settings, bank, encoder, unrelated prompts.

    Threads: one at a time; the training slot belongs to it.
    """

    choose = staticmethod(drop_near_duplicates)
    """Which of the model's questions are kept."""

    def __init__(self, model: LanguageModel, catalogue: Catalogue, settings: Settings) -> None:
        self.model, self.catalogue, self.settings = model, catalogue, settings
        self.bank = QuestionBank.load()
        self.encoder = SentenceEncoder(settings.encoder)
        self.unrelated = Unrelated()

    def prepare(self, job: Job) -> None:
        """Load the encoder and ask the base what is the same for all users, so that the first of
        them need not wait."""
        self.encoder.load()
        self.unrelated.ask_all(
            BreathingModel(self.model, job), k=self.settings.teacher_top_k, checkpoint=job.step
        )

    def study(self, turns: Sequence[Turn], past: Past, job: Job, *, seed: int) -> Study:
        """Return what a slice has to teach."""
        material = self.synthesize(turns, past, job, seed=seed)
        material = admitted(up_to_date(material, past.live_pairs), past.pairs)
        study = Study(material, [], past.live_pairs, [])
        if study.is_empty:
            return study
        model = BreathingModel(self.model, job)
        gone = superseded(past.live_pairs, material, turns, model, checkpoint=job.step)
        earlier = [pair for pair in past.live_pairs if pair.id not in gone]
        negatives = never_told(
            material, earlier, past.said, past.slot, model, self.bank, checkpoint=job.step
        )
        return Study(material, negatives, earlier, sorted(gone))

    def learn(self, study: Study, past: Past, job: Job, *, seed: int) -> Candidate:
        """Train on a study, beginning with the past's weights.

        Raises:
            ConsolidationError: If it was cancelled, or the training diverged.
        """
        lesson = self.lesson(study, past, job, random.Random(seed))
        try:
            self.model.slots.start_training(past.tensors, seed=self.settings.seed)
            trained = self.train(lesson, job, seed=seed)
            figures = self.measure(study, past, job)
            return Candidate(self.model.slots.trained_tensors(), trained, figures)
        finally:
            self.model.slots.end_training()

    # -- the steps --------------------------------------------------------------------------

    def synthesize(self, turns: Sequence[Turn], past: Past, job: Job, *, seed: int) -> Synthesis:
        """Return the QA pairs of a slice."""
        settings = self.settings
        return synthesize(
            BreathingModel(self.model, job), turns, bank=self.bank, encoder=self.encoder, catalogue=self.catalogue,
            live=past.slot, use_bank=settings.use_question_bank, rounds=settings.question_rounds,
            temperature=settings.question_temperature, seed=seed, choose=self.choose, checkpoint=job.step,
        )  # fmt: skip

    def lesson(self, study: Study, past: Past, job: Job, rng: random.Random) -> Lesson:
        """Return the target sentences of a study."""
        material = study.material
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
            return targets(self.varied(asked, rng), slot)

        new = [pair for pair in learned if not pair.before]

        return Lesson(
            new=mixed(asked_of([pair for pair in new if pair.value]))
            + mixed(asked_of([pair for pair in new if not pair.value]), past.slot),
            told_now=targets(asked_of([pair for pair in learned if pair.before])),
            never_told=mixed(asked_of([pair for pair in study.negatives if pair.use == "train"])),
            # What was learned before is kept as the live generation says it.
            replay=mixed([Asked(pair.question, pair.answer) for pair in study.replay], past.slot),
            unrelated=self.unrelated.trained(
                BreathingModel(self.model, job), k=self.settings.teacher_top_k, checkpoint=job.step
            ),
            stop=targets(asked_of(stop)),
        )

    def varied(self, asked: Sequence[Asked], rng: random.Random) -> list[Asked]:
        """Return what is asked, and some of it again otherwise."""
        return with_talk(asked, self.unrelated.small_talk, rng)

    def train(self, lesson: Lesson, job: Job, *, seed: int) -> Trained:
        """Train what is in the training slot."""
        settings = self.settings
        return train_adapter(
            self.model, lambda rng: lesson.draw(rng, settings.batch_size), max_steps=settings.max_steps,
            learning_rate=settings.learning_rate, seed=seed, is_learned=lambda step: self.is_learned(lesson, step),
            checkpoint=job.step,
        )  # fmt: skip

    def is_learned(self, lesson: Lesson, step: int) -> bool:
        """May the training stop after this step?"""
        if not lesson.stop or step < FIRST_STOP or step % STOP_EVERY:
            return False
        return mean_kl(self.model, lesson.stop, slot=TRAINING) < STOP_BELOW_NATS

    def measure(self, study: Study, past: Past, job: Job) -> Figures:
        """Return the figures of what is in the training slot."""
        rng = random.Random(self.settings.seed)
        model = BreathingModel(self.model, job)

        def some(pairs: Sequence, number: int) -> list:
            return rng.sample(pairs, min(len(pairs), number))

        def answer(questions: Sequence[str], slot: str) -> list[str]:
            return answer_with(
                model, questions, "", slot=slot, checkpoint=job.step, stage="probing"
            )

        trained = [pair for pair in study.material.of_use("train") if pair.value]
        return probe.measure(
            answer,
            new=some(study.material.of_use("probe"), MAX_PROBES),
            trained=some(trained, MAX_PROBES),
            earlier=to_compare(study.earlier, rng),
            never_told=[
                pair.question
                for pair in some([pair for pair in study.negatives if pair.use == "probe"], MAX_NEVER_TOLD_PROBES)
            ],
            slots=(BASE, past.slot, TRAINING),
            teacher_agreement=study.material.teacher_agreement,
            damage_nats=self.unrelated.damage(
                model, slot=TRAINING, k=self.settings.teacher_top_k, checkpoint=job.step
            ),
        )  # fmt: skip


def first_slice(model: LanguageModel, turns: Sequence[Turn], max_tokens: int) -> list[Turn]:
    """Return the first of these turns that fit into one context, at least one."""
    chosen: list[Turn] = []
    num_tokens = 0
    for turn in turns:
        num_tokens += model.count_tokens(f"User: {turn.message}\nYou: {turn.reply}\n")
        if chosen and num_tokens > max_tokens:
            break
        chosen.append(turn)
    return chosen


def said_last(model: LanguageModel, turns: Sequence[Turn], max_tokens: int) -> str:
    """Return the transcript of the last of these turns that fit into one context, without what the replies
    assert."""
    while turns and (
        model.count_tokens(said := transcript_of(turns, replies="questions")) > max_tokens
    ):
        turns = turns[len(turns) // 8 + 1 :]
    return said if turns else ""
