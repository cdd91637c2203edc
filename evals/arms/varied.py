"""The app's learning with single steps done otherwise: what is each worth?"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from agent.catalogue import Catalogue
from agent.memory.distillation import TargetSentence, Trained
from agent.memory.job import Job
from agent.memory.learning import Learner, Past, Study
from agent.memory.lesson import Asked, Lesson
from agent.memory.probe import Figures, normalise
from agent.memory.questions import Encoder, QAPair, drop_near_duplicates, wording
from agent.model import LanguageModel
from agent.settings import Settings
from agent.slots import TRAINING
from evals.arms.arm import one_hot
from house.phrasing import typo


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
    return typo(text, rng) if rng.random() < 0.5 else text


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
