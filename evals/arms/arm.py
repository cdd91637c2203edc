"""An arm: one way to remember. All arms are told the same and asked the same.

learn(contexts)     read what was said; the only time at which a context can be read
answer(questions)   reply to each in a fresh chat
cost()              what learning took and what is kept
"""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch
from torch import Tensor

from agent import prompts
from agent.catalogue import Catalogue
from agent.errors import AgentError
from agent.memory.distillation import TargetSentence, TeacherAnswer
from agent.memory.job import Job, Turnstile
from agent.memory.tables import Turn
from agent.model import LanguageModel
from agent.packing import Answered
from agent.recommend import recommend
from agent.slots import BASE, TRAINING
from evals.data import Turns

MAX_REPLY_TOKENS = 48

BATCH = 32


class CheatError(AgentError):
    """An arm did what its kind of memory cannot do."""


class Context:
    """One chat, which can be read while an arm learns it, and never afterwards."""

    def __init__(self, turns: Turns) -> None:
        self._turns, self.is_open = turns, False

    @property
    def turns(self) -> Turns:
        """The turns (message, reply).

        Raises:
            CheatError: Outside of `learn`.
        """
        if not self.is_open:
            raise CheatError("A context was read outside of learn().")
        return self._turns

    @property
    def text(self) -> str:
        return prompts.transcript([self.turns])

    @classmethod
    @contextmanager
    def opened(cls, many: Sequence[Turns]) -> Iterator[list["Context"]]:
        """Yield contexts that can be read until the end of the block."""
        contexts = [cls(turns) for turns in many]
        for context in contexts:
            context.is_open = True
        try:
            yield contexts
        finally:
            for context in contexts:
                context.is_open = False


@dataclass
class Cost:
    """What an arm has spent since its reset, and what it keeps."""

    steps: int = 0
    trained_tokens: int = 0
    """Non-padding tokens through the student."""
    teacher_tokens: int = 0
    kept_bytes: dict[str, int] = field(default_factory=dict)
    """Of what must be on disk to answer: adapter, turns, pairs, index."""
    num_cut: int = 0
    """Contexts, or turns of one, that did not fit into the window."""
    slices: list[list] = field(default_factory=list)
    """Of the app's consolidations [published, turns, reason]."""


class Arm:
    """The base of all arms, and the arm *base* itself: it learns nothing.

    Threads: one at a time.
    """

    keeps_text = False
    """May anything but the question stand in the prompt? What does is counted."""
    is_oracle = False
    """Is the arm told which context a question is about? The ceiling alone."""
    seconds_a_context, seconds_a_question = 0.0, 0.02
    """Roughly, on two cores, for the estimate before a run."""
    about: dict[str, object] = {}  # noqa: RUF012 - each arm has its own
    """What sets an arm apart from others of its class, for the file of its runs."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.slot, self.spent = model, BASE, Cost()
        self.own: int | None = None
        """Which context the next questions are about; only an oracle is told."""

    def reset(self, seed: int) -> None:
        """Forget everything."""
        self.spent, self.own = Cost(), None

    def learn(self, contexts: Sequence[Context]) -> None:
        """Read what was said, after all that was learned before."""

    def prompt(self, question: str, chat: Sequence[tuple[str, str]] = ()) -> list[prompts.Message]:
        """Return what the model sees of a question after the turns of this chat."""
        return prompts.chat(chat, question)

    def answer(self, questions: Sequence[str], chat: Sequence[tuple[str, str]] = ()) -> list[str]:
        """Return a greedy reply to each question."""
        replies: list[str] = []
        for start in range(0, len(questions), BATCH):
            batch = [self.prompt(question, chat) for question in questions[start : start + BATCH]]
            replies += self.model.generate(batch, slot=self.slot, max_new_tokens=MAX_REPLY_TOKENS)
        return [reply.strip() for reply in replies]

    def recommend(self, catalogue: Catalogue, number: int) -> list[str]:
        """Return titles, best first, as the app ranks them: with all that an arm shows the model."""
        found = recommend(self.model, catalogue, slot=self.slot, ask=self.prompt, number=number)
        return [one.film.title for one in found]

    def cost(self) -> Cost:
        return self.spent

    def is_enough(self, slot: str) -> bool:
        """May the training that fills this slot stop here? Asked after every step; an experiment may put
        another function here."""
        return False

    def close(self) -> None:
        """Give back what the arm holds."""


def as_turns(turns: Turns, *, after: int = 0) -> list[Turn]:
    """Return the turns of one chat as the buffer would give them, numbered from `after` + 1 on."""
    return [
        Turn(after + i, "", f"chat{after}", message, reply, datetime.now(UTC), False, None, None, None, 0)
        for i, (message, reply) in enumerate(turns, start=1)
    ]  # fmt: skip


NO_CHANCE = -80.0
"""Logarithm of a probability that adds nothing to a loss, and is finite."""


def one_hot(student: Answered) -> TargetSentence:
    """Return a sentence whose teacher is sure of each token: the KL then is the cross-entropy."""
    answer = torch.tensor(student.answer)[:, None]  # (N, 1)
    nothing = torch.full((len(answer),), NO_CHANCE)
    return TargetSentence(student, TeacherAnswer(answer, torch.zeros(answer.shape), nothing))


@contextmanager
def counted(model: LanguageModel, spent: Cost) -> Iterator[None]:
    """Add the tokens that go through the model until the end of the block: the student's, those of all else."""
    generate, answer_logits = model.generate, model.answer_logits

    def generating(batch: Sequence[list[prompts.Message]], **options: object) -> list[str]:
        replies = generate(batch, **options)
        spent.teacher_tokens += sum(len(model.encode(messages)) for messages in batch)
        spent.teacher_tokens += sum(model.count_tokens(reply) for reply in replies)
        return replies

    def scoring(batch: Sequence[Answered], *, slot: str, **options: object) -> Tensor:
        number = sum(len(item.prompt) + len(item.answer) for item in batch)
        if slot == TRAINING and torch.is_grad_enabled():
            spent.trained_tokens += number
        else:
            spent.teacher_tokens += number
        return answer_logits(batch, slot=slot, **options)

    with instead(model, generate=generating, answer_logits=scoring):
        yield


@contextmanager
def instead(model: LanguageModel, **functions: Callable) -> Iterator[None]:
    """Have the model do something else under the names of its methods until the end of the block."""
    before = {name: vars(model).get(name) for name in functions}
    vars(model).update(functions)
    try:
        yield
    finally:
        for name, function in before.items():
            if function is None:
                del vars(model)[name]
            else:
                vars(model)[name] = function


def new_job() -> Job:
    """Return a job that nobody watches or cancels."""
    return Job("", Turnstile(), cancelled=threading.Event())


_NUMBERS = itertools.count()


def new_user() -> str:
    """Return a name that nobody had: arms on one model must not take one another's adapters for their own."""
    return f"user{next(_NUMBERS)}"
