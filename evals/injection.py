"""What is told is asked for: one context alone, many at once, one after the other.

single       a fresh memory for each context
batch        all contexts of a life into one memory, at once
sequential   the contexts of a life into one memory, one after the other; after each step those
             of the lags are asked for: the retention matrix
"""

from collections.abc import Callable, Sequence

from evals.data import Item
from evals.examiner import Answer, Examiner

LAGS = (0, 1, 2, 5, 10, 20, 50, 99)
"""Contexts learned since the one that is asked for."""

SHORT = 20
"""Up to this length a sequence is asked for at every lag."""


def single(examiner: Examiner, item: Item, seed: int) -> dict:
    """Return what an arm answers about one context that it learned alone."""
    examiner.reset(seed)
    examiner.learn([item])
    answers = examiner.ask(item.questions, own=0)
    return {"cost": examiner.cost(), "answers": [as_row(answer) for answer in answers]}


def batch(examiner: Examiner, items: Sequence[Item], seed: int) -> dict:
    """Return what an arm answers about each of many contexts that it learned at once."""
    examiner.reset(seed)
    examiner.learn(items)
    answers = [examiner.ask(item.questions, own=i) for i, item in enumerate(items)]
    return {"cost": examiner.cost(), "contexts": [as_counts(found) for found in answers]}


def sequential(
    examiner: Examiner, items: Sequence[Item], seed: int, *, tick: Callable[[], None] = lambda: None
) -> dict:
    """Return the retention matrix: a row [after, of, right, asked, F1] for each context asked for after each
    step, numbered from 0."""
    examiner.reset(seed)
    rows, seconds = [], []
    for after, item in enumerate(items):
        before = examiner.seconds
        examiner.learn([item])
        seconds.append(round(examiner.seconds - before, 2))
        for of in range(after + 1):
            if len(items) > SHORT and after - of not in LAGS:
                continue
            found = as_counts(examiner.ask(items[of].questions, own=of))
            rows.append([after, of, *found])
        tick()
    return {"cost": examiner.cost(), "seconds": seconds, "matrix": rows}


def as_row(answer: Answer) -> dict:
    return {
        "question": answer.question.text, "expect": list(answer.question.expect), "reply": answer.reply,
        "right": answer.is_right, "f1": round(answer.f1, 3), "exact": answer.exact, "memory_tokens": answer.memory_tokens,
    }  # fmt: skip


def as_counts(answers: Sequence[Answer]) -> list:
    """Return [right, asked, mean F1, mean memory tokens]."""
    number = len(answers)
    return [
        sum(answer.is_right for answer in answers), number,
        round(sum(answer.f1 for answer in answers) / number, 3),
        round(sum(answer.memory_tokens for answer in answers) / number, 1),
    ]  # fmt: skip
