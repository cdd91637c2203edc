"""Memory in the base weights themselves: SELF-PARAM as published, and fine-tuning as its paper compares it.

LoRA of rank 8, alpha 32 on the projections q, k, v, gate, up and down of all layers of a full-precision
model; AdamW at a constant rate; one sentence a step; then the update is merged, and nothing is kept
beside the weights (SELF-PARAM, arXiv:2410.00487; what differs here stands in docs/evaluation.md).

    self-param   KL to the model with the context in its prompt, in turn on a question with its answer, on a
                 suffix of the context, and on unrelated text
    ft(c)        next token on the context
    ft(s)        next token on the questions with their answers
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from peft.tuners.lora import LoraLayer

from agent import prompts
from agent.errors import ConfigError
from agent.memory.distillation import TargetSentence, TeacherAnswer, answer_kl, keep_top
from agent.memory.questions import write_questions
from agent.memory.tables import Turn
from agent.memory.teacher import answer_with, windows_of
from agent.model import LanguageModel
from agent.packing import Answered, common_prefix
from agent.settings import Settings
from agent.slots import BASE, TRAINING, upper_half
from evals.arms.arm import Arm, Context, as_turns, counted, one_hot
from house.documents import Writer

RANK, ALPHA = 8, 32

PROJECTIONS = {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj"}

NUM_SUFFIXES = 8
"""Of a context, drawn once: the teacher is asked about each a single time."""

CHUNK_TOKENS = 256
NUM_CHUNKS = 64
"""Of unrelated text. Published: SlimPajama; here the house model's own training text, which is all it knows."""

MAX_KEPT = 4096
"""Teacher probabilities kept per token: all, for a vocabulary of this size."""


Tokens = tuple[int, ...]

SECONDS_A_STEP = 0.09
"""Roughly, for the estimate before a run."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps of one context, and the rate."""

    steps: int = 1500
    learning_rate: float = 2e-5


def all_layers(model: torch.nn.Module) -> dict[str, list]:
    """Return where the published adapters are, as peft's configuration names it."""
    names = [name for name in upper_half(model)["target_modules"] if name in PROJECTIONS]
    if not names:
        raise ConfigError(
            "This model has none of the projections q, k, v, gate, up and down, which ft-* and self-param train. "
            "Choose other arms."
        )
    number = model.config.get_text_config().num_hidden_layers
    return {"target_modules": names, "layers_to_transform": list(range(number))}


class Merged(Arm):
    """Trains an adapter on what was said, and merges it."""

    def __init__(
        self,
        model: LanguageModel,
        settings: Settings,
        recipe: Recipe,
        *,
        unrelated: Callable[[LanguageModel], list[Tokens]],
    ) -> None:
        super().__init__(model)
        self._settings, self._recipe, self._unrelated = settings, recipe, unrelated
        self._layers = [m for m in model.slots.model.modules() if isinstance(m, LoraLayer)]
        self._original = [layer.base_layer.weight.detach().clone() for layer in self._layers]
        self._seed = settings.seed
        self.seconds_a_context = SECONDS_A_STEP * recipe.steps
        self.about = asdict(recipe)

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._seed = seed
        with torch.no_grad():
            for layer, weight in zip(self._layers, self._original, strict=True):
                layer.base_layer.weight.copy_(weight)

    def learn(self, contexts: Sequence[Context]) -> None:
        rng = random.Random(f"{self._seed} {self.spent.steps}")
        with counted(self.model, self.spent):
            sorts = [[] for _ in self.sorts]
            for context in contexts:
                for found, sort in zip(sorts, self.sorts, strict=True):
                    found += sort(self, context, rng)
            sorts = [found for found in sorts if found]
            if sorts:
                self._train(sorts, self._recipe.steps * len(contexts), rng)

    sorts: Sequence[Callable[["Merged", Context, random.Random], list[TargetSentence]]] = ()
    """What is trained in turn."""

    def _train(self, sorts: list[list[TargetSentence]], steps: int, rng: random.Random) -> None:
        slots = self.model.slots
        slots.start_training(None, seed=self._seed)
        optimizer = torch.optim.AdamW(slots.training_parameters(), lr=self._recipe.learning_rate)
        for step in range(steps):
            sentence = rng.choice(sorts[step % len(sorts)])
            logits = self.model.answer_logits([sentence.student], slot=TRAINING)
            answer_kl(sentence.teacher, logits).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self.spent.steps += 1
            if self.is_enough(TRAINING):
                break
        self._merge()
        slots.end_training()

    @torch.no_grad()
    def _merge(self) -> None:
        for layer in self._layers:
            up, down = layer.lora_B[TRAINING].weight, layer.lora_A[TRAINING].weight
            layer.base_layer.weight += layer.scaling[TRAINING] * (up @ down)

    def close(self) -> None:
        self.reset(self._seed)

    # -- sentences -------------------------------------------------------------------------

    def questions(self, context: Context, rng: random.Random) -> list[tuple[str, str]]:
        """Return questions that the model writes about a context, with the answers it gives with the
        context in its prompt."""
        turns: list[Turn] = as_turns(context.turns)
        asked = write_questions(
            self.model, turns, windows_of(turns), rounds=self._settings.question_rounds,
            temperature=self._settings.question_temperature, seed=rng.randrange(2**31), checkpoint=_nothing,
        )  # fmt: skip
        questions = list(dict.fromkeys(pair.question for pair in asked))
        answers = answer_with(
            self.model, questions, context.text, checkpoint=_nothing, stage="teacher"
        )
        return list(zip(questions, answers, strict=True))

    def start(self, earlier: str = "") -> Tokens:
        """Return the tokens before the user's first word, the teacher's if there is an earlier chat."""
        either = [
            self.model.encode(prompts.chat([], text, earlier=earlier)) for text in ("a", "the")
        ]
        return tuple(either[0][: common_prefix(either)])

    def asked(self, question: str, answer: str) -> Tokens:
        """Return the tokens of a question with its answer, from the user's first word on."""
        whole = self.model.encode(prompts.chat([], question))
        return (*whole[len(self.start()) :], *self.model.encode_answer(answer))

    def distilled(self, text: Tokens, earlier: str = "") -> TargetSentence:
        """Return a text with the teacher's opinion of each token; the teacher sees an earlier chat."""
        with torch.inference_mode():
            seen = Answered(self.start(earlier), text)
            logits = self.model.answer_logits([seen], slot=BASE)
            kept = keep_top(logits, min(MAX_KEPT, logits.shape[1]))
        teacher = TeacherAnswer(*(getattr(kept, name).clone() for name in TeacherAnswer.__slots__))
        return TargetSentence(Answered(self.start(), text), teacher)

    def as_it_is(self, text: Tokens) -> TargetSentence:
        """Return a text to be learned token by token."""
        return one_hot(Answered(self.start(), text))


def _asked(arm: Merged, context: Context, rng: random.Random) -> list[TargetSentence]:
    return [arm.distilled(arm.asked(*both), context.text) for both in arm.questions(context, rng)]


def _suffixes(arm: Merged, context: Context, rng: random.Random) -> list[TargetSentence]:
    ids = arm.model.encode_text(context.text)
    starts = [rng.randrange(len(ids)) for _ in range(NUM_SUFFIXES)]
    return [arm.distilled(tuple(ids[start:]), context.text) for start in starts]


def _unrelated(arm: Merged, context: Context, rng: random.Random) -> list[TargetSentence]:
    return [arm.distilled(chunk) for chunk in rng.sample(arm._unrelated(arm.model), NUM_SUFFIXES)]


class SelfParam(Merged):
    sorts = (_asked, _suffixes, _unrelated)


class FineTunedOnContext(Merged):
    sorts = (lambda arm, context, rng: [arm.as_it_is(tuple(arm.model.encode_text(context.text)))],)


class FineTunedOnSentences(Merged):
    sorts = (
        lambda arm, context, rng: [
            arm.as_it_is(arm.asked(*both)) for both in arm.questions(context, rng)
        ],
    )


def unrelated_chunks(model: LanguageModel, writer: Writer) -> list[Tokens]:
    """Return chunks of the house model's training text, none about the users of the experiments."""
    rng = random.Random(0)
    ids: list[int] = []
    while len(ids) < NUM_CHUNKS * CHUNK_TOKENS:
        for message in writer.document(rng):
            ids += model.encode_text(message["content"] + "\n")
    return [tuple(ids[i * CHUNK_TOKENS : (i + 1) * CHUNK_TOKENS]) for i in range(NUM_CHUNKS)]


def _nothing(stage: str, done: int, total: int) -> None:
    pass
