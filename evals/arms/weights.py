"""Ours: memory in the weights of an adapter.

`Ours` is the app itself: its buffer, its gate, its generations on disk; what it could not learn stays in the
prompt, and is counted. `Weights` is what the weights alone can hold: the same learning without a gate,
nothing in the prompt, with single steps changed.
"""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from agent import prompts
from agent.catalogue import Catalogue
from agent.memory.adapters import AdapterStore, served_name
from agent.memory.buffer import ExperienceBuffer
from agent.memory.distillation import TargetSentence, Trained
from agent.memory.job import Job, Report, Turnstile
from agent.memory.learning import Learner, Past, Study
from agent.memory.lesson import Lesson
from agent.memory.probe import Figures, normalise
from agent.memory.questions import Encoder, QAPair, drop_near_duplicates
from agent.memory.tables import StoredPair, Turn
from agent.memory.teacher import transcript_of
from agent.model import LanguageModel
from agent.movie_agent import MovieAgent
from agent.settings import Settings
from agent.slots import BASE, TRAINING
from evals.arms.arm import Arm, Context, Cost, as_turns, counted, one_hot
from evals.conversations import adapter_of
from evals.data import Turns

LONG = "film " * 100
"""A question with the turns of its chat is not longer."""

_NUMBERS = itertools.count()
"""Arms on the same model must not take one another's adapters for their own."""


class Ours(Arm):
    """The app, as it runs."""

    keeps_text = True
    seconds_a_context = 60.0

    def __init__(self, model: LanguageModel, settings: Settings) -> None:
        super().__init__(model)
        self._settings = settings
        self._catalogue, self._shared = Catalogue.load(), Learner(model, Catalogue.load(), settings)
        self._held = ExitStack()
        self.reset(settings.seed)

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.close()
        self.slot, self._num_chats = BASE, 0
        self.reports: list[Report] = []
        """Of every slice that was tried since the reset."""
        self._user = f"user{next(_NUMBERS)}"
        self._open = ExitStack()
        folder = Path(self._open.enter_context(TemporaryDirectory(prefix="imprint-evals-")))
        buffer, store = (
            ExperienceBuffer(folder / "experience.db"),
            AdapterStore(folder / "adapters"),
        )
        self._agent = MovieAgent(
            self.model, buffer, store, self._settings.model_copy(update={"seed": seed})
        )
        self._open.callback(self._agent.close)
        learner = self._agent.consolidator._consolidation.learner
        learner.encoder, learner.unrelated = self._shared.encoder, self._shared.unrelated

    def learn(self, contexts: Sequence[Context]) -> None:
        agent, user = self._agent, self._user
        for context in contexts:
            self._num_chats += 1
            for message, reply in context.turns:
                agent.buffer.append(user, f"chat{self._num_chats}", message=message, reply=reply)
        with counted(self.model) as tokens:
            reports = agent.consolidate(user)
        self.reports += reports
        self.spent.steps += sum(report.num_steps for report in reports)
        self.spent.trained_tokens += sum(report.trained_tokens for report in reports)
        self.spent.teacher_tokens += tokens.number
        self._held.close()
        self.slot = self._held.enter_context(adapter_of(agent, user))

    def take_as_learned(self, chats: Sequence[Turns]) -> None:
        """Put turns into the buffer as if a generation knew them: for what a long past costs."""
        buffer, ids = self._agent.buffer, []
        for turns in chats:
            self._num_chats += 1
            for message, reply in turns:
                turn = buffer.append(
                    self._user, f"chat{self._num_chats}", message=message, reply=reply
                )
                ids.append(turn.id)
        fence = buffer.leases.take(self._user, "evals", seconds=60)
        buffer.skip(self._user, fence, turn_ids=ids, report={})
        buffer.leases.release(self._user, fence)

    def prompt(self, question: str, chat: Sequence[tuple[str, str]] = ()) -> list[prompts.Message]:
        live, _ = self._agent.usable_generation(self._user)
        waits, _ = self._agent._prompt_turns(self._user, "", "on", live)
        waits, _, _ = self._agent._fit(waits, [], LONG, live)
        return prompts.chat(chat, question, earlier=transcript_of(waits) if waits else "")

    def cost(self) -> Cost:
        buffer, live = self._agent.buffer, self._agent.usable_generation(self._user)[0]
        self.spent.kept_bytes = {
            "adapter": self._agent.store.card(self._user, live)["adapter_bytes"] if live else 0,
            "turns": sum(
                len((turn.message + turn.reply).encode()) for turn in buffer.turns(self._user)
            ),
            "pairs": sum(
                len((pair.question + pair.answer + pair.value).encode())
                for pair in buffer.pairs(self._user)
            ),
        }
        return self.spent

    def close(self) -> None:
        self._held.close()
        if hasattr(self, "_open"):
            self.model.slots.drop(f"{self._user}@")
            self._open.close()


# -- the weights alone ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variant:
    """What is done otherwise than in the app."""

    has_replay: bool = True
    """Rehearse earlier pairs."""
    is_rebuilt: bool = False
    """Train on all slices so far from the base on, as many steps for each, instead of going on."""
    loss: str = "kl"
    """"kl", or "cross-entropy" on the teacher's greedy answers."""
    has_unrelated: bool = True
    has_negatives: bool = True
    is_diverse: bool = True
    """Choose the wordings that are farthest from one another; else any as many."""


class VariedLearner(Learner):
    """The app's learner with steps changed, which measures nothing: others do."""

    def __init__(
        self, model: LanguageModel, catalogue: Catalogue, settings: Settings, variant: Variant
    ) -> None:
        super().__init__(model, catalogue, settings)
        self.variant = variant
        if not variant.is_diverse:
            self.choose = any_as_many
        self.lessons: list[Lesson] = []
        self.is_enough: Callable[[str], bool] = lambda slot: False

    def is_learned(self, lesson: Lesson, step: int) -> bool:
        return self.is_enough(TRAINING) or super().is_learned(lesson, step)

    def lesson(self, study: Study, past: Past, job: Job, rng: random.Random) -> Lesson:
        variant, lesson = self.variant, super().lesson(study, past, job, rng)
        if not variant.has_replay or variant.is_rebuilt:
            lesson = replace(lesson, replay=[])
        if not variant.has_unrelated:
            lesson = replace(lesson, unrelated=[])
        if not variant.has_negatives:
            lesson = replace(lesson, never_told=[])
        if variant.loss == "cross-entropy":
            lesson = in_all(lesson, lambda sentence: one_hot(sentence.student))
        if variant.is_rebuilt:
            self.lessons.append(lesson)
            lesson = together(self.lessons)
        return lesson

    def train(self, lesson: Lesson, job: Job, *, seed: int) -> Trained:
        if not self.variant.is_rebuilt:
            return super().train(lesson, job, seed=seed)
        usual = self.settings
        self.settings = usual.model_copy(update={"max_steps": usual.max_steps * len(self.lessons)})
        try:
            return super().train(lesson, job, seed=seed)
        finally:
            self.settings = usual

    def measure(self, study: Study, past: Past, job: Job) -> Figures | None:
        return None


def any_as_many(pairs: list[QAPair], encoder: Encoder) -> list[QAPair]:
    """Return as many wordings of each fact as the selection by diversity keeps, whichever."""
    rng = random.Random(len(pairs))
    kept = drop_near_duplicates(pairs, encoder)
    groups: dict[tuple, list[QAPair]] = {}
    for pair in pairs:
        groups.setdefault((pair.turn_ids, normalise(pair.value)), []).append(pair)
    numbers = Counter((pair.turn_ids, normalise(pair.value)) for pair in kept)
    return [pair for key, group in groups.items() for pair in rng.sample(group, numbers[key])]


def in_all(lesson: Lesson, change: Callable[[TargetSentence], TargetSentence]) -> Lesson:
    """Return the lesson with every target sentence changed."""
    groups = ("new", "told_now", "never_told", "replay", "unrelated", "stop")
    return Lesson(**{name: [change(one) for one in getattr(lesson, name)] for name in groups})


def together(lessons: Sequence[Lesson]) -> Lesson:
    """Return one lesson with the target sentences of all, the unrelated ones once."""
    groups = ("new", "told_now", "never_told", "replay", "stop")
    return Lesson(
        **{name: [one for lesson in lessons for one in getattr(lesson, name)] for name in groups},
        unrelated=lessons[0].unrelated,
    )


class Weights(Arm):
    """The app's learning without its gate and with nothing in the prompt."""

    seconds_a_context = 40.0

    def __init__(
        self, model: LanguageModel, settings: Settings, variant: Variant = Variant()
    ) -> None:
        super().__init__(model)
        self._learner = VariedLearner(model, Catalogue.load(), settings, variant)
        self._variant = variant
        self._held = ExitStack()
        self._begin()

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._learner.settings = self._learner.settings.model_copy(update={"seed": seed})
        self._learner.lessons = []
        self._begin()

    def _begin(self) -> None:
        self._held.close()
        self._user = f"user{next(_NUMBERS)}"
        self.slot = BASE
        self._tensors: dict[str, Tensor] | None = None
        self._turns: list[Turn] = []
        self._pairs: list[StoredPair] = []
        self._slices = 0

    def learn(self, contexts: Sequence[Context]) -> None:
        turns: list[Turn] = []
        for context in contexts:
            turns += as_turns(context.turns, after=len(self._turns) + len(turns))
        for part in self._in_slices(turns):
            self._learn(part)

    def _in_slices(self, turns: Sequence[Turn]) -> Iterator[list[Turn]]:
        part: list[Turn] = []
        for turn in turns:
            size = self.model.count_tokens(transcript_of([*part, turn]))
            if part and size > self._learner.settings.max_context_tokens:
                yield part
                part = []
            part.append(turn)
        if part:
            yield part

    def _learn(self, turns: list[Turn]) -> None:
        learner, job = self._learner, Job(self._user, Turnstile(), cancelled=threading.Event())
        learner.is_enough = self.is_enough
        self._slices += 1
        seed = learner.settings.seed + self._slices
        is_rebuilt = self._variant.is_rebuilt
        said = transcript_of(self._turns, replies="questions") if self._turns else ""
        past = Past(
            BASE if is_rebuilt else self.slot, None if is_rebuilt else self._tensors,
            sorted(self._pairs, key=lambda pair: (pair.rehearsed_in, pair.id)), self._newest(said),
        )  # fmt: skip
        self._turns += turns
        with counted(self.model) as tokens:
            study = learner.study(turns, past, job, seed=seed)
            if study.is_empty:
                self.spent.teacher_tokens += tokens.number
                return
            candidate = learner.learn(study, past, job, seed=seed)
        self.spent.teacher_tokens += tokens.number
        self.spent.steps += candidate.trained.num_steps
        self.spent.trained_tokens += candidate.trained.trained_tokens
        self._keep(study, candidate.tensors)

    def _newest(self, said: str) -> str:
        """Return the end of a transcript that fits into a context."""
        lines = said.splitlines()
        while (
            lines
            and self.model.count_tokens("\n".join(lines))
            > self._learner.settings.max_context_tokens
        ):
            lines = lines[len(lines) // 8 + 1 :]
        return "\n".join(lines)

    def _keep(self, study: Study, tensors: dict[str, Tensor]) -> None:
        rehearsed = {pair.id for pair in study.replay}
        gone = set(study.superseded)
        kept = [
            replace(
                pair,
                rehearsed_in=self._slices if pair.id in rehearsed else pair.rehearsed_in,
                status="superseded" if pair.id in gone else pair.status,
            )
            for pair in self._pairs
        ]
        new = study.pairs_to_store(self._user, self._slices)
        self._pairs = kept + [replace(pair, id=len(kept) + i) for i, pair in enumerate(new)]
        self._tensors = tensors
        self._held.close()
        name = served_name(self._user, self._slices)
        self.slot = self._held.enter_context(self.model.slots.adapter(name, lambda: tensors))

    def cost(self) -> Cost:
        tensors = (self._tensors or {}).values()
        self.spent.kept_bytes = {"adapter": sum(t.numel() * t.element_size() for t in tensors)}
        return self.spent

    def close(self) -> None:
        self._held.close()
