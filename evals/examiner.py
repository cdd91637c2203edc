"""Has an arm learn and answer, and sees that it does not cheat.

A context can be read only while it is learned. Every reply must be one that the model gave to a prompt
that ends with the question; and unless the arm declares that it keeps text, nothing else may stand
in that prompt. What stands there beside the question is counted.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agent import prompts
from agent.memory.probe import grade
from agent.model import LanguageModel
from evals.arms.arm import Arm, CheatError, Context, Cost, instead
from evals.data import Item, Question
from evals.metrics import exact_match, qa_f1

Chat = Sequence[tuple[str, str]]

Given = list[tuple[list[prompts.Message], str]]
"""Prompts with the replies that the model gave to them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to a question, and the tokens that stood in its prompt beside the question."""

    question: Question
    reply: str
    memory_tokens: int

    @property
    def is_right(self) -> bool:
        return grade(self.reply, self.question.expect, self.question.reject)

    @property
    def f1(self) -> float:
        return max(qa_f1(self.reply, gold) for gold in self.question.gold)

    @property
    def exact(self) -> float:
        return max(exact_match(self.reply, gold) for gold in self.question.gold)


class Examiner:
    """Tells one arm and asks it; holds what learning took."""

    def __init__(self, arm: Arm) -> None:
        self.arm, self.seconds, self.peak_bytes = arm, 0.0, 0

    def reset(self, seed: int) -> None:
        """Have the arm forget everything."""
        self.arm.reset(seed)
        self.seconds, self.peak_bytes = 0.0, 0

    def learn(self, items: Sequence[Item]) -> None:
        """Tell the contexts of the items, at once."""
        with Context.opened([item.turns for item in items]) as contexts:
            forget_peak()
            began = time.monotonic()
            self.arm.learn(contexts)
            self.seconds += time.monotonic() - began
            self.peak_bytes = max(self.peak_bytes, peak_bytes())

    def ask(
        self, questions: Sequence[Question], *, own: int | None = None, chat: Chat = ()
    ) -> list[Answer]:
        """Return an answer to each question.

        Args:
            own: Which of the contexts learned since the reset they are about: only an oracle is told.
            chat: Turns of this chat, before the question.

        Raises:
            CheatError: The arm did what its kind of memory cannot do.
        """
        arm = self.arm
        arm.own = own if arm.is_oracle else None
        with watched(arm.model) as given:
            replies = arm.answer([question.text for question in questions], chat)
        if len(replies) != len(questions):
            raise CheatError(
                f"{len(questions)} questions were asked, {len(replies)} were answered."
            )
        found = []
        for question, reply in zip(questions, replies, strict=True):
            prompt = self._prompt_of(question.text, reply, given)
            bare = prompts.chat(chat, question.text)
            if prompt != bare and not arm.keeps_text:
                raise CheatError("There was more than the question in the prompt of an arm that keeps no text.")  # fmt: skip
            extra = len(arm.model.encode(prompt)) - len(arm.model.encode(bare)) if prompt != bare else 0  # fmt: skip
            found.append(Answer(question, reply, extra))
        return found

    def cost(self) -> dict:
        """Return what learning took since the reset, and what is kept."""
        spent: Cost = self.arm.cost()
        return {
            "seconds": round(self.seconds, 2), "steps": spent.steps, "trained_tokens": spent.trained_tokens,
            "teacher_tokens": spent.teacher_tokens, "peak_bytes": self.peak_bytes, "kept_bytes": dict(spent.kept_bytes),
        }  # fmt: skip

    @staticmethod
    def _prompt_of(question: str, reply: str, given: Given) -> list[prompts.Message]:
        for prompt, text in given:
            if prompt[-1]["content"] == question and text.strip() == reply:
                return prompt
        raise CheatError("A reply is none that the model gave to the question.")


@contextmanager
def watched(model: LanguageModel) -> Iterator[Given]:
    """Yield a list that receives every prompt and reply of the model until the end of the block."""
    given: Given = []
    real = model.generate

    def generate(batch: Sequence[list[prompts.Message]], **options: object) -> list[str]:
        replies = real(batch, **options)
        given.extend(zip(map(list, batch), replies, strict=True))
        return replies

    with instead(model, generate=generate):
        yield given


def forget_peak() -> None:
    """Have the system measure the peak of memory from now on, where it can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Return the most memory this process held since `forget_peak`; 0 where that cannot be known."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024
