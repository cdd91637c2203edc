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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from agent import prompts
from agent.catalogue import Catalogue
from agent.errors import ConsolidationError
from agent.memory.adapters import AdapterStore, served_name
from agent.memory.buffer import ExperienceBuffer
from agent.memory.distillation import TargetSentence, Trained
from agent.memory.job import Job, Turnstile
from agent.memory.learning import Learner, Past, Study
from agent.memory.lesson import Asked, Lesson
from agent.memory.probe import Figures, normalise
from agent.memory.questions import Encoder, QAPair, drop_near_duplicates, wording
from agent.memory.tables import StoredPair, Turn
from agent.memory.teacher import transcript_of
from agent.model import LanguageModel
from agent.movie_agent import MovieAgent
from agent.recommend import recommend
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
        self._shared = Learner(model, Catalogue.load(), settings)
        self._shared.prepare(new_job())  # as the app does when it starts
        self._held = ExitStack()
        self.reset(settings.seed)

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.close()
        self.slot, self._num_chats = BASE, 0
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
        with counted(self.model, self.spent):
            reports = agent.consolidator.run(user)
        self.spent.steps += sum(report.num_steps for report in reports)
        self.spent.slices += [
            [report.published, report.num_turns, report.reason] for report in reports
        ]
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

    def recommend(self, catalogue: Catalogue, number: int) -> list[str]:
        # The app ranks by the weights and the current chat alone: what waits is not in its prompts.
        found = recommend(self.model, catalogue, slot=self.slot, number=number)
        return [one.film.title for one in found]

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
    """Train from the base on all that holds of the slices so far, as many steps for each, instead of going
    on."""
    loss: str = "kl"
    """"kl", or "cross-entropy" on the teacher's greedy answers."""
    has_unrelated: bool = True
    has_negatives: bool = True
    share_careless: float = 0.0
    """Of what is asked is asked again as somebody types it who does not care."""
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
        self.studies: list[Study] = []
        self.is_enough: Callable[[str], bool] = lambda slot: False

    def is_learned(self, lesson: Lesson, step: int) -> bool:
        return self.is_enough(TRAINING) or super().is_learned(lesson, step)

    def lesson(self, study: Study, past: Past, job: Job, rng: random.Random) -> Lesson:
        variant = self.variant
        if variant.is_rebuilt:
            self.studies.append(study)
            lesson = together(
                [
                    super(VariedLearner, self).lesson(one, Past(), job, rng)
                    for one in what_holds(self.studies)
                ]
            )
        else:
            lesson = super().lesson(study, past, job, rng)
        if not variant.has_replay or variant.is_rebuilt:
            lesson = replace(lesson, replay=[])
        if not variant.has_unrelated:
            lesson = replace(lesson, unrelated=[])
        if not variant.has_negatives:
            lesson = replace(lesson, never_told=[])
        if variant.loss == "cross-entropy":
            lesson = in_all(lesson, lambda sentence: one_hot(sentence.student))
        return lesson

    def varied(self, asked: Sequence[Asked], rng: random.Random) -> list[Asked]:
        again = [
            replace(item, typed=carelessly(item.question, rng))
            for item in asked
            if rng.random() < self.variant.share_careless
        ]
        return super().varied([*asked, *again], rng)

    def train(self, lesson: Lesson, job: Job, *, seed: int) -> Trained:
        if not self.variant.is_rebuilt:
            return super().train(lesson, job, seed=seed)
        usual = self.settings
        self.settings = usual.model_copy(update={"max_steps": usual.max_steps * len(self.studies)})
        try:
            return super().train(lesson, job, seed=seed)
        finally:
            self.settings = usual

    def measure(self, study: Study, past: Past, job: Job) -> Figures | None:
        return None


def what_holds(studies: Sequence[Study]) -> list[Study]:
    """Return the studies without what a later one has corrected, and without negatives that any has
    told."""
    told = {
        wording(pair.question) for study in studies for pair in study.material.pairs if pair.value
    }
    found = []
    for number, study in enumerate(studies):
        anew = {
            wording(pair.question): normalise(pair.value)
            for later in studies[number + 1 :]
            for pair in later.material.pairs
            if pair.value
        }
        pairs = [
            pair
            for pair in study.material.pairs
            if not pair.value
            or anew.get(wording(pair.question), normalise(pair.value)) == normalise(pair.value)
        ]
        negatives = [pair for pair in study.negatives if wording(pair.question) not in told]
        found.append(
            replace(study, material=replace(study.material, pairs=pairs), negatives=negatives)
        )
    return found


def carelessly(question: str, rng: random.Random) -> str:
    """Return a question in small letters, without its mark, with a slip in a word; each at times."""
    text = question.lower() if rng.random() < 0.6 else question
    text = text.rstrip("?!. ") if rng.random() < 0.6 else text
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if places and rng.random() < 0.5:
        i = rng.choice(places)
        word, at = words[i], rng.randrange(1, len(words[i]) - 1)
        words[i] = word[:at] + rng.choice(
            [word[at + 1] + word[at] + word[at + 2 :], word[at + 1 :], word[at] + word[at:]]
        )
    return " ".join(words)


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
        self._learner.prepare(new_job())
        self.about = asdict(variant)
        self._variant = variant
        self._held = ExitStack()
        self._begin()

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._learner.settings = self._learner.settings.model_copy(update={"seed": seed})
        self._learner.studies = []
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
        learner, job = self._learner, new_job()
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
        with counted(self.model, self.spent):
            study = learner.study(turns, past, job, seed=seed)
            if study.is_empty:
                return
            try:
                candidate = learner.learn(study, past, job, seed=seed)
            except ConsolidationError as error:  # as the app: it stays as it was
                self.spent.slices.append([False, len(turns), str(error)])
                return
        self.spent.steps += candidate.trained.num_steps
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


def new_job() -> Job:
    """Return a job that nobody watches or cancels."""
    return Job("", Turnstile(), cancelled=threading.Event())
