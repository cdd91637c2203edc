"""The arms by name, each on a base model in the form it wants."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from agent.errors import ConfigError
from agent.model import LanguageModel
from agent.settings import Settings
from agent.slots import upper_half
from evals.arms import merged
from evals.arms.arm import Arm
from evals.arms.merged import FineTunedOnContext, FineTunedOnSentences, Merged, Recipe, SelfParam
from evals.arms.ours import Ours
from evals.arms.prompted import Ceiling, Dense, FullHistory, Lexical
from evals.arms.varied import Variant
from evals.arms.weights import Weights
from house.__main__ import new_writer


@dataclass(frozen=True, slots=True)
class Form:
    """How a base model is loaded."""

    quantize: str = "nf4"
    lora_rank: int = 16
    lora_alpha: int = 32
    adapted: Callable = upper_half

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"adapted": self.adapted.__name__.replace("_", " ")}


FORM = Form()
"""As the app loads it."""

PUBLISHED = Form("none", merged.RANK, merged.ALPHA, merged.all_layers)


FULL = Form("none")
"""Full precision."""


@dataclass
class Bench:
    """What the arms share: settings, base models by their form, unrelated text."""

    settings: Settings
    _models: dict[Form, LanguageModel] = field(default_factory=dict)
    _chunks: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)

    def model(self, form: Form) -> LanguageModel:
        """Return the base model in a form, loaded at its first use."""
        if form not in self._models:
            self._models[form] = LanguageModel.load(
                self.settings.model, quantize=form.quantize, num_slots=2, lora_rank=form.lora_rank,
                lora_alpha=form.lora_alpha, adapted=form.adapted,
            )  # fmt: skip
        return self._models[form]

    def unrelated(self, model: LanguageModel) -> list[tuple[int, ...]]:
        """Return chunks of the house model's training text, in the tokens of a model."""
        if model.name not in self._chunks:
            self._chunks[model.name] = merged.unrelated_chunks(model, new_writer())
        return self._chunks[model.name]


Made = tuple[Form, Callable[[Bench], Arm]]
"""How an arm's model is loaded, and what makes the arm."""


def _on(form: Form, arm: Callable[[LanguageModel], Arm], **options: object) -> Made:
    return form, lambda bench: arm(bench.model(form), **options)


def _varied(variant: Variant, form: Form = FORM) -> Made:
    def made(bench: Bench) -> Arm:
        settings = bench.settings.model_copy(
            update={"lora_rank": form.lora_rank, "lora_alpha": form.lora_alpha}
        )
        return Weights(bench.model(form), settings, variant)

    return form, made


def _merged(kind: type[Merged], recipe: Recipe) -> Made:
    return PUBLISHED, lambda bench: kind(
        bench.model(PUBLISHED), bench.settings, recipe, unrelated=bench.unrelated
    )


SEARCHES = {"bm25": Lexical, "dense": Dense}
"""Arms of which `name@turns` is one too."""

TUNED = {"self-param": SelfParam, "ft-context": FineTunedOnContext, "ft-sentences": FineTunedOnSentences}  # fmt: skip
"""Arms of which `name@steps@rate` is one too: so a setting is chosen on dev."""

STEPS, RATES = (150, 500, 1500), (2e-5, 2e-4, 2e-3)

GRID = [f"{name}@{steps}@{rate:g}" for name in TUNED for steps in STEPS for rate in RATES]
GRID += [f"{name}@{turns}" for name in SEARCHES for turns in (2, 4, 8)]

BEST = {name: Recipe(500, 2e-3) for name in TUNED}
"""Of those steps and rates; not yet chosen on dev."""

MAIN: dict[str, Made] = {
    "base": _on(FORM, Arm),
    "ceiling": _on(FORM, Ceiling),
    "base-fp32": _on(FULL, Arm),
    "ceiling-fp32": _on(FULL, Ceiling),
    "full-history": _on(FORM, FullHistory),
    "bm25": _on(FORM, Lexical),
    "dense": _on(FORM, Dense),
    "ft-context": _merged(FineTunedOnContext, BEST["ft-context"]),
    "ft-sentences": _merged(FineTunedOnSentences, BEST["ft-sentences"]),
    "self-param": _merged(SelfParam, Recipe()),
    "self-param-best": _merged(SelfParam, BEST["self-param"]),
    "ours": (FORM, lambda bench: Ours(bench.model(FORM), bench.settings)),
    "weights": _varied(Variant()),
}

ABLATIONS: dict[str, Made] = {
    "weights-stack": _varied(Variant(has_replay=False)),
    "weights-rebuild": _varied(Variant(is_rebuilt=True)),
    "weights-cross-entropy": _varied(Variant(loss="cross-entropy")),
    "weights-no-unrelated": _varied(Variant(has_unrelated=False)),
    "weights-no-negatives": _varied(Variant(has_negatives=False)),
    "weights-no-diversity": _varied(Variant(is_diverse=False)),
    "weights-careless": _varied(Variant(share_careless=0.5)),
    "weights-fp32": _varied(Variant(), FULL),
    **{f"weights-rank-{r}": _varied(Variant(), Form(lora_rank=r, lora_alpha=2 * r)) for r in (4, 8, 32)},
}  # fmt: skip
"""What single steps of ours are worth."""

ARMS = MAIN | ABLATIONS

GROUPS = {"main": list(MAIN), "ablations": list(ABLATIONS), "grid": GRID}
"""`grid` is what settings are chosen from, on dev."""

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


def _maker(name: str) -> Made:
    if name in ARMS:
        return ARMS[name]
    kind, *numbers = name.split("@")
    try:
        if kind in TUNED and len(numbers) == 2:
            return _merged(TUNED[kind], Recipe(int(numbers[0]), float(numbers[1])))
        if kind in SEARCHES and len(numbers) == 1:
            return _on(FORM, SEARCHES[kind], found=int(numbers[0]))
    except ValueError:
        pass
    raise ConfigError(
        f"There is no arm {name!r}. There are: {', '.join([*GROUPS, *ARMS])}, and e.g. self-param@500@2e-4 (steps, rate), bm25@8 (turns)."
    )


def arm_of(name: str, bench: Bench) -> Arm:
    """Return the arm of a name."""
    return _maker(name)[1](bench)


def form_of(name: str) -> Form:
    """Return how the base model of an arm is loaded."""
    return _maker(name)[0]
