"""The teacher: the base model with the turns in its prompt, and what speaks for its answers.

A user's message is evidence; a reply of the assistant is none.
"""

import re
from collections.abc import Sequence

from agent import prompts
from agent.memory.probe import grade, is_abstention, normalise
from agent.memory.questions import MICRO_BATCH, STOP_WORDS, Checkpoint, QAPair, words
from agent.memory.tables import Turn
from agent.model import Answered, LanguageModel
from agent.slots import BASE

WINDOW = 2
"""Turns before and after a turn that its teacher sees."""


def transcript_of(turns: Sequence[Turn], *, with_replies: bool = True) -> str:
    """Return turns as the teacher reads them, a line between sessions."""
    sessions: list[list[tuple[str, str]]] = []
    last = None
    for turn in turns:
        if turn.session_id != last:
            sessions.append([])
        reply = turn.reply if with_replies else prompts.WITHHELD
        sessions[-1].append((turn.message, reply))
        last = turn.session_id
    return prompts.transcript(sessions)


def windows_of(turns: Sequence[Turn]) -> dict[int, str]:
    """Return for each turn the transcript around it, in its session. A small teacher reads a few
    messages better than many: docs/lab_book.md."""
    windows = {}
    for i, turn in enumerate(turns):
        around = turns[max(0, i - WINDOW) : i + WINDOW + 1]
        windows[turn.id] = transcript_of([t for t in around if t.session_id == turn.session_id])
    return windows


def answer_with(
    model: LanguageModel,
    questions: Sequence[str],
    context: str | Sequence[str],
    *,
    checkpoint: Checkpoint,
    stage: str,
    slot: str = BASE,
    before: Sequence[Sequence[tuple[str, str]]] | None = None,
) -> list[str]:
    """Return greedy answers to questions, each in a fresh chat, with `context`, or each with its
    own, in the prompt."""
    contexts = [context] * len(questions) if isinstance(context, str) else context
    answers: list[str] = []
    for start in range(0, len(questions), MICRO_BATCH):
        checkpoint(stage, start, len(questions))
        part = range(start, min(start + MICRO_BATCH, len(questions)))
        answers += model.generate(
            [prompts.chat(before[i] if before else [], questions[i], earlier=contexts[i]) for i in part],
            slot=slot, max_new_tokens=48,
        )  # fmt: skip
    return [answer.strip() for answer in answers]


def agrees(pair: QAPair, answer: str) -> bool:
    """Does the teacher's answer give the value that the question was written for?"""
    value = normalise(pair.value)
    if value in {"yes", "no"}:
        return bool(re.match(rf"{value}\b", normalise(answer))) and not is_abstention(answer)
    return grade(answer, [pair.value])


def is_evident(pair: QAPair, answer: str, turns: Sequence[Turn]) -> bool:
    """Does a user's message hold what a "no" sets against the question? "No, you live in Turin" may
    repeat what only a reply said (`design.md` 6, rule 3); values are checked when they are written."""
    said = [turn for turn in turns if turn.id in pair.turn_ids]
    return normalise(pair.value) != "no" or bool(supported_value(answer, pair.question, said)[0])


def supported_value(answer: str, question: str, turns: Sequence[Turn]) -> tuple[str, int]:
    """Return the longest run of words of the answer that a user's message holds and the question
    does not, and the id of that turn; ("", 0) if the users' messages support none."""
    said = words(answer)
    given = set(words(question)) | STOP_WORDS
    best: tuple[int, str, int] = (0, "", 0)
    for turn in turns:
        message = f" {' '.join(words(turn.message))} "
        for start in range(len(said)):
            if said[start] in given:
                continue
            for end in range(len(said), start, -1):
                run = said[start:end]
                if run[-1] in given or f" {' '.join(run)} " not in message:
                    continue
                size = sum(word not in given for word in run)
                # The latest of equals: a correction stands after what it corrects.
                if size >= best[0]:
                    best = (size, " ".join(run), turn.id)
                break
    return best[1], best[2]


def certainty(
    model: LanguageModel, pairs: Sequence[QAPair], context: str, *, checkpoint: Checkpoint
) -> list[float]:
    """Return for each pair the probability that the teacher gives to its answer as a whole."""
    found: list[float] = []
    for start in range(0, len(pairs), MICRO_BATCH):
        checkpoint("bank", start, len(pairs))
        batch = [
            Answered(
                tuple(model.encode(prompts.chat([], pair.question, earlier=context))),
                tuple(model.encode_answer(pair.answer)),
            )
            for pair in pairs[start : start + MICRO_BATCH]
        ]
        found += model.answer_probabilities(batch, slot=BASE)
    return found


def drop_corrected(
    model: LanguageModel,
    facts: list[list[QAPair]],
    context: str,
    turns: Sequence[Turn],
    *,
    checkpoint: Checkpoint,
) -> list[list[QAPair]]:
    """Leave out what a later message of the slice corrects: to most of a fact's wordings (a few are
    asked) the teacher with the whole slice in its prompt gives what that message told."""
    asked = [
        (number, pair) for number, wordings in enumerate(facts) for pair in wordings[:3]
        if wordings[0].turn_ids[0] != turns[-1].id
    ]  # fmt: skip
    answers = answer_with(
        model, [pair.question for _, pair in asked], context, checkpoint=checkpoint, stage="teacher"
    )
    votes: dict[int, list[bool]] = {}
    for (number, pair), answer in zip(asked, answers, strict=True):
        votes.setdefault(number, []).append(is_later(pair, answer, turns))
    corrected = {number for number, later in votes.items() if sum(later) > len(later) / 2}
    return [wordings for number, wordings in enumerate(facts) if number not in corrected]


def is_later(pair: QAPair, answer: str, turns: Sequence[Turn]) -> bool:
    """Does an answer give something else than the pair's value, which a later message told?"""
    if is_abstention(answer) or agrees(pair, answer):
        return False
    return supported_value(answer, pair.question, turns)[1] > pair.turn_ids[0]
