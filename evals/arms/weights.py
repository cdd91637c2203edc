"""What the weights alone can hold: the app's learning without its gate, and nothing in the prompt."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

from torch import Tensor

from agent.catalogue import Catalogue
from agent.errors import ConsolidationError
from agent.memory.adapters import served_name
from agent.memory.learning import Past, Study, first_slice, said_last
from agent.memory.tables import StoredPair, Turn
from agent.model import LanguageModel
from agent.settings import Settings
from agent.slots import BASE
from evals.arms.arm import Arm, Context, Cost, as_turns, counted, new_job, new_user
from evals.arms.varied import Variant, VariedLearner


class Weights(Arm):
    """The app's learning without its gate and with nothing in the prompt."""

    seconds_a_context = 40.0

    def __init__(self, model: LanguageModel, settings: Settings, variant: Variant) -> None:
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
        self._user = new_user()
        self.slot = BASE
        self._tensors: dict[str, Tensor] | None = None
        self._turns: list[Turn] = []
        self._pairs: list[StoredPair] = []
        self._slices = 0

    def learn(self, contexts: Sequence[Context]) -> None:
        turns: list[Turn] = []
        for context in contexts:
            turns += as_turns(context.turns, after=len(self._turns) + len(turns))
        most = self._learner.settings.max_context_tokens
        while turns:
            part = first_slice(self.model, turns, most)
            turns = turns[len(part) :]
            self._learn(part)

    def _learn(self, turns: list[Turn]) -> None:
        learner, job = self._learner, new_job()
        learner.is_enough = self.is_enough
        self._slices += 1
        seed = learner.settings.seed + self._slices
        is_rebuilt = self._variant.is_rebuilt
        said = said_last(self.model, self._turns, learner.settings.max_context_tokens)
        past = Past(
            BASE if is_rebuilt else self.slot, None if is_rebuilt else self._tensors,
            sorted(self._pairs, key=lambda pair: (pair.rehearsed_in, pair.id)), said,
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
