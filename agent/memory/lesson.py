"""The lesson: QA pairs become target sentences, and target sentences become batches.

    pair ─▶ teacher's prompt: context, turns before, question ─▶ top K of its answer, asked once
         └▶ student's prompt: turns before, question

Dimension key as in distillation.py.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent import prompts
from agent.memory.distillation import TargetSentence, ask_teacher
from agent.memory.questions import ROW_BATCH, Checkpoint, micro_batches
from agent.model import LanguageModel
from agent.packing import Answered
from agent.slots import BASE

SHARE_WITH_TALK = 0.67
"""Of what is asked is asked again with unrelated turns before it: 0.67 / 1.67 = 40 % of the three
quarters of a batch that are new, never told or replay, 30 % of all (docs/method.md, rule 6)."""

SmallTalk = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the answer to learn, and what the teacher and the student see before it."""

    question: str
    answer: str
    before: tuple[tuple[str, str], ...] = ()
    """Turns of the chat, for both."""
    context: str = ""
    """Transcript, for the teacher alone."""
    typed: str = ""
    """The question as the student sees it, if otherwise."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """The target sentences of one consolidation, in groups."""

    new: list[TargetSentence]
    told_now: list[TargetSentence]
    never_told: list[TargetSentence]
    replay: list[TargetSentence]
    unrelated: list[TargetSentence]
    stop: list[TargetSentence]
    """Held out: they only tell when to stop."""

    def draw(self, rng: random.Random, size: int) -> list[TargetSentence]:
        """Return a batch: two fifths replay, at most as many negatives as positives, a tenth
        with the value in the chat, a fifth unrelated (docs/method.md, rules 5, 6 and 8)."""
        replay = size * 2 // 5 if self.replay else 0
        told_now = max(1, round(size / 10)) if self.told_now else 0
        unrelated = max(1, size // 5) if self.unrelated else 0
        rest = size - replay - told_now - unrelated
        never_told = (rest + 1) // 3 if self.never_told else 0
        shares = [
            (self.new, rest - never_told),
            (self.told_now, told_now),
            (self.never_told, never_told),
            (self.replay, replay),
            (self.unrelated, unrelated),
        ]
        return [
            sentence
            for group, number in shares
            for sentence in rng.sample(group, min(number, len(group)))
        ]


def target_sentences(
    model: LanguageModel,
    asked: Sequence[Asked],
    *,
    k: int,
    checkpoint: Checkpoint,
    slot: str = BASE,
) -> list[TargetSentence]:
    """Return the target sentences, the teacher in `slot` asked once for each; those with the same
    context together, since a batch computes it once."""
    sentences: list[TargetSentence] = []
    for part in micro_batches(asked, key=lambda item: item.context, size=ROW_BATCH):
        checkpoint("target sentences", len(sentences), len(asked))
        answers = [tuple(model.encode_answer(item.answer)) for item in part]
        seen = [
            tuple(model.encode(prompts.chat(item.before, item.question, earlier=item.context)))
            for item in part
        ]
        opinions = ask_teacher(
            model, [Answered(*both) for both in zip(seen, answers, strict=True)], k=k, slot=slot
        )
        for item, answer, opinion in zip(part, answers, opinions, strict=True):
            student = tuple(model.encode(prompts.chat(item.before, item.typed or item.question)))
            sentences.append(TargetSentence(Answered(student, answer), opinion))
    return sentences


def with_talk(asked: Sequence[Asked], small_talk: SmallTalk, rng: random.Random) -> list[Asked]:
    """Return what is asked, each in a fresh chat, and many again after 1 to 4 unrelated turns."""
    again = [
        replace(item, before=tuple(rng.sample(small_talk, rng.randint(1, 4))))
        for item in asked
        if rng.random() < SHARE_WITH_TALK
    ]
    return [*asked, *again]
