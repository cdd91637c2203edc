"""Has an arm learn and answer, and sees that it does not cheat.

A context can be read only while it is learned. While an arm answers, of its model it may only generate:
once for each question, greedily, in its slot, to a prompt that ends with the question, and the reply
must be what came out. Unless the arm declares that it keeps text, nothing else may stand in that
prompt; what stands there is counted.
"""

import copy
import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
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

FORBIDDEN = ("stream", "answer_logits", "answer_probabilities", "lower_states")
"""Other ways to use a model, by which an arm might learn while it answers."""


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
        self.arm = arm
        self._open: list[Context] = []
        self._start()

    def _start(self) -> None:
        self.seconds, self.more_bytes = 0.0, 0

    def reset(self, seed: int) -> None:
        """Have the arm forget everything."""
        self.arm.reset(seed)
        self._start()

    def learn(self, items: Sequence[Item]) -> None:
        """Tell the contexts of the items, at once."""
        with Context.opened([item.turns for item in items]) as contexts:
            self._open = contexts
            before = forget_peak()
            began = time.monotonic()
            self.arm.learn(contexts)
            self.seconds += time.monotonic() - began
            self.more_bytes = max(self.more_bytes, peak_bytes() - before)
            self._open = []

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
        with self.asking(own), watched(self.arm) as given:
            replies = self.arm.answer([question.text for question in questions], chat)
        if len(replies) != len(questions) or len(given) != len(questions):
            raise CheatError(
                f"{len(questions)} questions were asked, {len(given)} prompts made of them, {len(replies)} replies given."
            )
        found = []
        for question, reply in zip(questions, replies, strict=True):
            prompt = _prompt_of(question.text, reply, given)
            found.append(Answer(question, reply, self.extra_tokens(question.text, prompt, chat)))
        return found

    def prompt(self, question: str) -> list[prompts.Message]:
        """Return what the arm shows the model of a question, checked.

        Raises:
            CheatError: There is more than the question, and the arm keeps no text.
        """
        prompt = self.arm.prompt(question)
        self.extra_tokens(question, prompt)
        return prompt

    def extra_tokens(self, question: str, prompt: list[prompts.Message], chat: Chat = ()) -> int:
        """Return how many tokens stand in a prompt beside a question and the turns of its chat."""
        bare = prompts.chat(chat, question)
        if prompt == bare:
            return 0
        if not self.arm.keeps_text:
            raise CheatError(
                "There was more than the question in the prompt of an arm that keeps no text."
            )
        encode = functools.partial(LanguageModel.encode, self.arm.model)
        return len(encode(prompt)) - len(encode(bare))

    @contextmanager
    def asking(self, own: int | None) -> Iterator[None]:
        """Have the contexts closed, even while one is learned, and an oracle told which is meant."""
        for context in self._open:
            context.is_open = False
        self.arm.own = own if self.arm.is_oracle else None
        try:
            yield
        finally:
            self.arm.own = None
            for context in self._open:
                context.is_open = True

    def cost(self) -> dict:
        """Return what learning took since the reset, and what is kept."""
        spent: Cost = self.arm.cost()
        return {"seconds": round(self.seconds, 2), "more_bytes": self.more_bytes, **asdict(spent)}


def _prompt_of(question: str, reply: str, given: Given) -> list[prompts.Message]:
    for prompt, text in given:
        if prompt[-1]["content"] == question and text.strip() == reply:
            return prompt
    raise CheatError("A reply is none that the model gave to the question.")


@contextmanager
def watched(arm: Arm) -> Iterator[Given]:
    """Yield a list that receives every prompt and reply of the arm's model until the end of the block.
    What the arm may have put in the place of the model's methods is not used.

    Raises:
        CheatError: The model is used otherwise than to reply greedily in the arm's slot.
    """
    given: Given = []
    model = arm.model
    real = functools.partial(LanguageModel.generate, model)

    def generate(
        batch: Sequence[list[prompts.Message]], *, slot: str, **options: object
    ) -> list[str]:
        if slot != arm.slot or options.get("temperature"):
            raise CheatError("The model was used in another slot than the arm's, or not greedily.")
        seen = copy.deepcopy([list(messages) for messages in batch])
        replies = real(copy.deepcopy(seen), slot=slot, **options)
        given.extend(zip(seen, replies, strict=True))
        return replies

    def forbidden(*arguments: object, **options: object) -> object:
        raise CheatError("The model was used otherwise than to reply.")

    encode = functools.partial(LanguageModel.encode, model)
    with instead(model, generate=generate, encode=encode, **dict.fromkeys(FORBIDDEN, forbidden)):
        yield given


def forget_peak() -> int:
    """Have the system measure the peak of memory from now on, where it can; return what is held now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def peak_bytes() -> int:
    """Return the most memory this process held since `forget_peak`; 0 where that cannot be known."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024
