"""What a memory costs: until it knows as much as another, and at every reply afterwards.

to recall   three contexts are learned at once; while an arm trains it is asked now and then, off the
            clock: what had it cost when it reached a recall for the first time?
latency     the first token of a reply, and what stands in its prompt, after 10, 100 and 1,000 turns
"""

import statistics
import time
from collections.abc import Sequence

from agent.slots import BASE
from evals.arms.arm import Arm
from evals.arms.ours import Ours
from evals.data import Item, Question
from evals.examiner import Answer, Examiner

CONTEXTS = 3

ASKED_EVERY = 25
"""Steps of a training between two looks."""

PAST_TURNS = (10, 100, 1000)

NUM_REPLIES = 10


class Watch:
    """Asks while an arm trains, and takes its own time off the clock."""

    def __init__(self, examiner: Examiner, questions: Sequence[Question]) -> None:
        self._examiner, self._questions = examiner, questions
        self._began, self._steps = time.monotonic(), 0
        self.paused = 0.0
        self.curve: list[dict] = []

    def __call__(self, slot: str) -> bool:
        self._steps += 1
        if self._steps % ASKED_EVERY == 0:
            began = time.monotonic()
            arm, usual = self._examiner.arm, self._examiner.arm.slot
            arm.slot = slot
            self.note(self._examiner.ask(self._questions), began - self._began - self.paused)
            arm.slot = usual
            self.paused += time.monotonic() - began
        return False

    def note(self, answers: Sequence[Answer], seconds: float) -> None:
        spent = self._examiner.arm.spent
        recall = sum(answer.is_right for answer in answers) / len(answers)
        self.curve.append({"seconds": round(seconds, 2), "steps": self._steps, "trained_tokens": spent.trained_tokens, "recall": recall})  # fmt: skip


def to_recall(examiner: Examiner, items: Sequence[Item], seed: int) -> dict:
    """Return what learning the contexts had cost whenever an arm was asked, and in the end."""
    examiner.reset(seed)
    questions = [question for item in items for question in item.questions]
    watch = Watch(examiner, questions)
    examiner.arm.is_enough = watch
    try:
        examiner.learn(items)
    finally:
        del examiner.arm.is_enough
    answers = [
        answer for i, item in enumerate(items) for answer in examiner.ask(item.questions, own=i)
    ]
    cost = examiner.cost()
    cost["seconds"] = round(cost["seconds"] - watch.paused, 2)
    watch.note(answers, cost["seconds"])
    watch.curve[-1] |= {"steps": cost["steps"], "trained_tokens": cost["trained_tokens"]}
    tokens = statistics.mean(answer.memory_tokens for answer in answers)
    return {"cost": cost, "memory_tokens": tokens, "curve": watch.curve}


def latency(arm: Arm, items: Sequence[Item], number: int) -> dict:
    """Return seconds to the first token and prompt tokens of replies after a past of `number` turns, and the
    bytes that are kept of it."""
    examiner = Examiner(arm)
    examiner.reset(0)
    past, num_turns = [], 0
    for item in items:
        if num_turns >= number:
            break
        past.append(item)
        num_turns += len(item.turns)
    num_chats = len(past)
    if isinstance(arm, Ours):  # an adapter is as fast whatever it knows: the last chat makes one
        arm.take_as_learned([item.turns for item in past[:-1]])
        past = past[-1:]
    examiner.learn(past)
    kept = examiner.cost()["kept_bytes"]
    if "pairs" in kept:  # those of the one chat that was learned, for each
        kept["pairs"] *= num_chats
    seconds, tokens = [], []
    for question in [q.text for item in past[-4:] for q in item.questions][:NUM_REPLIES]:
        began = time.monotonic()
        prompt = examiner.prompt(question)
        arm.model.generate([prompt], slot=arm.slot, max_new_tokens=1)
        seconds.append(time.monotonic() - began)
        tokens.append(len(arm.model.encode(prompt)))
    return {
        "turns": num_turns, "has_adapter": arm.slot != BASE,
        "seconds": round(statistics.median(seconds), 4), "prompt_tokens": round(statistics.mean(tokens), 1),
        "kept_bytes": kept,
    }  # fmt: skip
