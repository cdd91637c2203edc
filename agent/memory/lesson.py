"""The lesson: QA pairs become target sentences, and target sentences become batches.

    pair ─▶ teacher's prompt: context, turns before, question ─▶ top K of its answer, asked once
         └▶ student's prompt: turns before, question

Dimension key as in distillation.py.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent import prompts
from agent.memory.distillation import TargetSentence, ask_teacher
from agent.memory.questions import Checkpoint, QAPair
from agent.memory.synthesis import Synthesis
from agent.model import LanguageModel
from agent.packing import Answered
from agent.slots import BASE

SHARE_WITH_TALK = 0.43
"""Of the pairs are repeated with unrelated turns before them: 0.43 / 1.43 = 30 % of what a batch
draws (docs/method.md, rule 6)."""

MAX_ROW = 1024
"""Tokens beside the context in one pass of the teacher: the attention mask of a row grows with their
square. Chosen, not measured."""

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
        told_now = max(1, size // 10) if self.told_now else 0
        unrelated = max(1, size // 5)
        rest = size - replay - told_now - unrelated
        never_told = (rest + 1) // 3
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
    for part in _parts(model, sorted(asked, key=lambda item: item.context)):
        checkpoint("target sentences", len(sentences), len(asked))
        opinions = ask_teacher(model, [seen for _, seen in part], k=k, slot=slot)
        for (item, seen), opinion in zip(part, opinions, strict=True):
            student = tuple(model.encode(prompts.chat(item.before, item.question)))
            sentences.append(TargetSentence(Answered(student, seen.answer), opinion))
    return sentences


def _parts(model: LanguageModel, asked: Sequence[Asked]) -> Iterator[list[tuple[Asked, Answered]]]:
    """Yield what is asked, with what the teacher sees, in rows of at most MAX_ROW tokens: of the
    same context in each."""
    part: list[tuple[Asked, Answered]] = []
    num_tokens = 0
    for item in asked:
        prompt = model.encode(prompts.chat(item.before, item.question, earlier=item.context))
        seen = Answered(tuple(prompt), tuple(model.encode_answer(item.answer)))
        # The context is computed once in a row.
        own = len(prompt) + len(seen.answer) - model.count_tokens(item.context)
        if part and (num_tokens + own > MAX_ROW or item.context != part[0][0].context):
            yield part
            part, num_tokens = [], 0
        part.append((item, seen))
        num_tokens += own
    if part:
        yield part


def asked_of(
    pairs: Sequence[QAPair], material: Synthesis, small_talk: SmallTalk, rng: random.Random
) -> list[Asked]:
    """Return what is asked for these pairs: each alone, many again after 1 to 4 unrelated turns."""
    asked: list[Asked] = []
    for pair in pairs:
        context = material.teacher_context(pair)
        asked.append(Asked(pair.question, pair.answer, pair.before, context))
        if not pair.before and rng.random() < SHARE_WITH_TALK:
            turns = tuple(rng.sample(small_talk, rng.randint(1, 4)))
            asked.append(Asked(pair.question, pair.answer, turns, context))
    return asked
