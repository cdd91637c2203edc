"""The teacher: the base model with the turns in its prompt, and what speaks for its answers.

A user's message is evidence; a reply of the assistant is none.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from agent import prompts
from agent.memory.probe import grade, is_abstention, normalise
from agent.memory.questions import STOP_WORDS, Checkpoint, QAPair, micro_batches, told_in, words
from agent.memory.tables import Turn
from agent.model import LanguageModel
from agent.slots import BASE

WINDOW = 2
"""Turns before and after a turn that its teacher sees."""


def transcript_of(
    turns: Sequence[Turn], *, replies: Literal["all", "questions", "none"] = "all"
) -> str:
    """Return turns as they stand in a prompt, a line between sessions; of the replies all, or what
    they ask, or nothing."""
    shown = {"all": str, "questions": asked_in, "none": lambda reply: prompts.WITHHELD}[replies]
    sessions: list[list[tuple[str, str]]] = []
    last = None
    for turn in turns:
        if turn.session_id != last:
            sessions.append([])
        sessions[-1].append((turn.message, shown(turn.reply)))
        last = turn.session_id
    return prompts.transcript(sessions)


def asked_in(reply: str) -> str:
    """Return the question at the end of a reply, to which the next message may be the answer, else
    the word for a withheld one: what a reply asserts is no evidence (docs/method.md, rule 3)."""
    last = re.split(r"(?<=[.!?])\s+", reply.strip())[-1]
    return last if last.endswith("?") else prompts.WITHHELD


def windows_of(turns: Sequence[Turn]) -> dict[int, str]:
    """Return for each turn the transcript around it, in its session. A small teacher reads a few
    messages better than many: docs/lab_book.md."""
    windows = {}
    for i, turn in enumerate(turns):
        around = turns[max(0, i - WINDOW) : i + WINDOW + 1]
        here = [other for other in around if other.session_id == turn.session_id]
        windows[turn.id] = transcript_of(here, replies="questions")
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
    own, in the prompt; those with the same context together, since a batch computes it once."""
    contexts = [context] * len(questions) if isinstance(context, str) else context
    answers = [""] * len(questions)
    done = 0
    for part in micro_batches(range(len(questions)), key=lambda i: contexts[i]):
        checkpoint(stage, done, len(questions))
        replies = model.generate(
            [prompts.chat(before[i] if before else [], questions[i], earlier=contexts[i]) for i in part],
            slot=slot, max_new_tokens=48,
        )  # fmt: skip
        for i, reply in zip(part, replies, strict=True):
            answers[i] = reply.strip()
        done += len(part)
    return answers


def agrees(pair: QAPair, answer: str) -> bool:
    """Does the teacher's answer give the value that the question was written for?"""
    value = normalise(pair.value)
    if value in {"yes", "no"}:
        return bool(re.match(rf"{value}\b", normalise(answer))) and not is_abstention(answer)
    return grade(answer, [pair.value])


def is_evident(pair: QAPair, answer: str, turns: Sequence[Turn]) -> bool:
    """Do the users' messages alone speak for a "yes" or a "no" (docs/method.md, rule 3)? "No, you live
    in Turin" must repeat the message, and what is confirmed or set against the question may not hold
    a word that only a reply said. Other values are checked when they are written."""
    value = normalise(pair.value)
    if value not in {"yes", "no"}:
        return True
    by_user = {word for turn in turns for word in words(turn.message)}
    by_replies = {word for turn in turns for word in words(asked_in(turn.reply))} - STOP_WORDS
    asserted = words(answer) + (words(pair.question) if value == "yes" else [])
    if set(asserted) & (by_replies - by_user):
        return False
    said = [turn for turn in turns if turn.id in pair.turn_ids]
    return value == "yes" or bool(supported_value(answer, pair.question, said)[0])


def supported_value(answer: str, question: str, turns: Sequence[Turn]) -> tuple[str, int]:
    """Return the longest run of words of the answer that a user's message tells and the question
    does not hold, and the id of that turn; ("", 0) if the users' messages support none."""
    said = words(answer)
    given = set(words(question)) | STOP_WORDS
    best: tuple[int, str, int] = (0, "", 0)
    for turn in turns:
        message = f" {' '.join(words(told_in(turn.message)))} "
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


def corrected(
    model: LanguageModel,
    facts: Sequence[Sequence[QAPair]],
    turns: Sequence[Turn],
    *,
    checkpoint: Checkpoint,
) -> set[int]:
    """Return the indexes of the facts, each a list of wordings, that a later one of `turns` corrects.

    A few wordings of each are asked with all turns in the prompt. Where the answer is what a later
    message told, that message must give it again with only its window in the prompt: a small
    teacher takes the nearest name out of many messages.
    """
    asked = [
        (number, pair)
        for number, wordings in enumerate(facts)
        for pair in wordings[:3]
        if max(pair.turn_ids) < turns[-1].id
    ]
    windows = windows_of(turns)
    answers = answer_with(
        model, [pair.question for _, pair in asked], transcript_of(turns, replies="questions"),
        checkpoint=checkpoint, stage="teacher",
    )  # fmt: skip
    later = [
        (number, pair, *found)
        for (number, pair), answer in zip(asked, answers, strict=True)
        if (found := told_later(pair, answer, turns))
    ]
    again = answer_with(
        model, [pair.question for _, pair, _, _ in later], [windows[turn_id] for *_, turn_id in later],
        checkpoint=checkpoint, stage="teacher",
    )  # fmt: skip
    votes = Counter(
        number
        for (number, _, value, _), answer in zip(later, again, strict=True)
        if grade(answer, [value])
    )
    num_asked = Counter(number for number, _ in asked)
    return {number for number, votes_for in votes.items() if votes_for > num_asked[number] / 2}


def told_later(pair: QAPair, answer: str, turns: Sequence[Turn]) -> tuple[str, int] | None:
    """Return the value of an answer that is not the pair's and that a later message told, with the
    id of that turn; None if there is none."""
    if is_abstention(answer) or agrees(pair, answer):
        return None
    value, turn_id = supported_value(answer, pair.question, turns)
    return (value, turn_id) if turn_id > max(pair.turn_ids) else None
