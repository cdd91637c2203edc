"""The arms by name, each on a base model in the form it wants."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.errors import ConfigError
from agent.model import LanguageModel
from agent.settings import Settings
from agent.slots import upper_half
from evals.arms import merged
from evals.arms.arm import Arm
from evals.arms.merged import FineTunedOnContext, FineTunedOnSentences, Merged, Recipe, SelfParam
from evals.arms.prompted import Ceiling, Dense, FullHistory, Lexical
from evals.arms.weights import Ours, Variant, Weights
from house.__main__ import new_writer


@dataclass(frozen=True, slots=True)
class Form:
    """How a base model is loaded."""

    quantize: str = "nf4"
    lora_rank: int = 16
    lora_alpha: int = 32
    adapted: Callable = upper_half


PUBLISHED = Form("none", merged.RANK, merged.ALPHA, merged.all_layers)


@dataclass
class Bench:
    """What the arms share: settings, and base models by their form."""

    settings: Settings
    _models: dict[Form, LanguageModel] = field(default_factory=dict)

    def model(self, form: Form) -> LanguageModel:
        """Return the base model in a form, loaded at its first use."""
        if form not in self._models:
            self._models[form] = LanguageModel.load(
                self.settings.model, quantize=form.quantize, num_slots=2, lora_rank=form.lora_rank,
                lora_alpha=form.lora_alpha, adapted=form.adapted,
            )  # fmt: skip
        return self._models[form]

    @functools.cached_property
    def training_writer(self):
        """Who writes the house model's training text."""
        return new_writer()


def _on_nf4(arm: Callable[[LanguageModel], Arm]) -> Callable[[Bench], Arm]:
    return lambda bench: arm(bench.model(Form()))


def _varied(variant: Variant, form: Form = Form()) -> Callable[[Bench], Arm]:
    def made(bench: Bench) -> Arm:
        settings = bench.settings.model_copy(
            update={"lora_rank": form.lora_rank, "lora_alpha": form.lora_alpha}
        )
        return Weights(bench.model(form), settings, variant)

    return made


def _merged(kind: type[Merged], recipe: Recipe) -> Callable[[Bench], Arm]:
    return lambda bench: kind(bench.model(PUBLISHED), bench.settings, bench.training_writer, recipe)


TUNED = {"self-param": SelfParam, "ft-context": FineTunedOnContext, "ft-sentences": FineTunedOnSentences}  # fmt: skip
"""Arms of which `name@steps@rate` is one too: so a setting is chosen on dev."""

STEPS, RATES = (150, 500, 1500), (2e-5, 2e-4, 2e-3)

BEST = {
    "self-param": Recipe(500, 2e-3),
    "ft-context": Recipe(500, 2e-3),
    "ft-sentences": Recipe(500, 2e-3),
}
"""Of those steps and rates the best on dev: docs/lab_book.md."""

MAIN: dict[str, Callable[[Bench], Arm]] = {
    "base": _on_nf4(Arm),
    "ceiling": _on_nf4(Ceiling),
    "full-history": _on_nf4(FullHistory),
    "bm25": _on_nf4(Lexical),
    "dense": _on_nf4(Dense),
    "ft-context": _merged(FineTunedOnContext, BEST["ft-context"]),
    "ft-sentences": _merged(FineTunedOnSentences, BEST["ft-sentences"]),
    "self-param": _merged(SelfParam, Recipe()),
    "self-param-best": _merged(SelfParam, BEST["self-param"]),
    "ours": lambda bench: Ours(bench.model(Form()), bench.settings),
    "weights": _varied(Variant()),
}

ABLATIONS: dict[str, Callable[[Bench], Arm]] = {
    "weights-stack": _varied(Variant(has_replay=False)),
    "weights-rebuild": _varied(Variant(is_rebuilt=True)),
    "weights-cross-entropy": _varied(Variant(loss="cross-entropy")),
    "weights-no-unrelated": _varied(Variant(has_unrelated=False)),
    "weights-no-negatives": _varied(Variant(has_negatives=False)),
    "weights-no-diversity": _varied(Variant(is_diverse=False)),
    "weights-fp32": _varied(Variant(), Form("none")),
    **{f"weights-rank-{r}": _varied(Variant(), Form(lora_rank=r, lora_alpha=2 * r)) for r in (4, 8, 32)},
}  # fmt: skip
"""What single steps of ours are worth."""

ARMS = MAIN | ABLATIONS

GROUPS = {"main": list(MAIN), "ablations": list(ABLATIONS)}

NOT_ARMS = {
    "InfLLM": "looks up blocks of a long context's keys and values; contexts here are short, and it forgets them with the process",
    "MemoryLLM": "has memory tokens in every layer of a model trained for them; there is none of this size",
    "RAPTOR": "summarises documents into a tree before it searches; the house model writes no summaries",
    "model editing": "ROME and MEMIT want subject, relation and object given, and a causal trace of a known model",
    "MEGa": "gates one adapter per memory by its key; a candidate for an arm, not built yet",
}
"""Of the paper and of the field, what is no arm, and why."""


def names_of(chosen: list[str]) -> list[str]:
    """Return arms by name, groups of them spelled out.

    Raises:
        ConfigError: If there is no such arm.
    """
    names = [name for one in chosen for name in GROUPS.get(one, [one])]
    for name in names:
        _maker(name)
    return list(dict.fromkeys(names))


def _maker(name: str) -> Callable[[Bench], Arm]:
    if name in ARMS:
        return ARMS[name]
    kind, *recipe = name.split("@")
    if kind in TUNED and len(recipe) == 2:
        try:
            return _merged(TUNED[kind], Recipe(int(recipe[0]), float(recipe[1])))
        except ValueError:
            pass
    raise ConfigError(
        f"There is no arm {name!r}. There are: {', '.join([*GROUPS, *ARMS])}, and e.g. self-param@500@2e-4 (steps, rate)."
    )


def arm_of(name: str, bench: Bench) -> Arm:
    """Return the arm of a name."""
    return _maker(name)(bench)
