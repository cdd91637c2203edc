"""Train the house model from scratch, on one CPU or one GPU, in runs that can be resumed.

    shard (made from its number) → documents → batches by length → Muon + AdamW

Dimension key:
    B  rows in a batch
    T  tokens in a row; a row holds one document and padding
    N  tokens of a batch that are trained

The learning rate is constant after a short warm-up and falls linearly to 0 over the last
`decay` of the run, so a longer run can start from any checkpoint of a shorter one that was
taken before its decay. A run ends at a number of tokens, or of minutes if they come first.
"""

import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from house.documents import Writer
from house.tokenizer import Encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What depends on the machine."""

    batch_tokens: int
    """B · T of every batch."""
    shard_documents: int
    """Documents made at a time; batches do not cross shards."""
    workers: int
    """Processes that make shards; 0 makes them between the steps."""
    rates: tuple[float, float]
    """Peak learning rates of Muon and AdamW."""
    dropout: float
    """Share of the embeddings, and of what each block adds, that is dropped."""
    lengths: tuple[int, ...]
    """T of a batch, each compiled. The last is the context of the model."""


CPU = Recipe(
    batch_tokens=8192, shard_documents=1200, workers=0, rates=(0.01, 3e-3), dropout=0.0,
    lengths=(192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 896, 1024, 1280, 1536, 2048),
)  # fmt: skip
"""Few tokens a batch, for many steps in an hour, which is too short a run to need dropout. With eight lengths 0.82 of
the places were tokens, with these 0.89; a shape is compiled in six seconds."""

GPU = Recipe(
    batch_tokens=65536, shard_documents=6000, workers=14, rates=(0.02, 3e-3), dropout=0.05,
    lengths=(256, 384, 512, 640, 768, 1024, 1408, 2048),
)  # fmt: skip
"""A batch that fills the card; Muon's usual rate. Without dropout held-out wordings got worse from 100 M tokens on
(docs/lab_book.md); it is half of that of the fourth edition, which does not know its own lines."""

OTHER_WEIGHT = 0.25
"""Weight of what is not an answer. A third of N is left over by the answers and filled with such
tokens, drawn at random: it costs nothing. Measured: docs/lab_book.md."""

MEASURE_EVERY = 250
"""Steps between two looks at the loss on held-out wordings."""

HELD_OUT_DOCUMENTS = 400


def new_model(
    tokenizer: PreTrainedTokenizerFast, *, layers: int, width: int, hidden: int
) -> Qwen3ForCausalLM:
    """Return an untrained model: Qwen3 blocks, tied embeddings, heads of 64."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            num_key_value_heads=width // 64,
            head_dim=64,
            max_position_embeddings=2048,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def add_dropout(model: Qwen3ForCausalLM, share: float) -> None:
    """Drop a share of the embeddings and of what attention and MLP add, in training mode only."""

    def hook(module: torch.nn.Module, args: object, output: object) -> object:
        if isinstance(output, tuple):
            return (F.dropout(output[0], share, module.training), *output[1:])
        return F.dropout(output, share, module.training)

    for layer in model.model.layers:
        layer.self_attn.register_forward_hook(hook)
        layer.mlp.register_forward_hook(hook)
    model.model.embed_tokens.register_forward_hook(hook)


@dataclass
class Batch:
    """One step's tensors: a document a row, padded at its end, which nothing before it sees."""

    ids: Tensor
    """(B, T) token ids."""
    sizes: Tensor
    """(B,) tokens of each document."""
    targets: Tensor
    """(N,) flat index of the trained tokens; the prediction of token i is made at i - 1."""
    weights: Tensor
    """(N,) 1 for a token of an answer, `OTHER_WEIGHT` for one of a user or a transcript, 0 for none."""

    def to(self, device: torch.device) -> "Batch":
        parts = (getattr(self, part.name) for part in fields(self))
        return Batch(*(part.to(device, non_blocking=True) for part in parts))


def make_batches(
    rows: list[tuple[list[int], list[bool]]], pad: int, rng: random.Random, recipe: Recipe
) -> list[Batch]:
    """Put documents of about the same length together, so that few places are padding: a batch has
    one of the recipe's lengths and is full; what is left over goes to the next length. Documents
    that do not fit into the context are left out."""
    batches: list[Batch] = []
    waiting: list[tuple[list[int], list[bool]]] = []
    left = sorted(rows, key=lambda row: len(row[0]), reverse=True)
    for length in recipe.lengths:
        while left and len(left[-1][0]) <= length:
            waiting.append(left.pop())
        size = max(1, recipe.batch_tokens // length)
        while len(waiting) >= size or (waiting and length == recipe.lengths[-1]):
            batches.append(_batch(waiting[:size], pad, (size, length)))
            del waiting[:size]
    rng.shuffle(batches)
    return batches


def _batch(group: list[tuple[list[int], list[bool]]], pad: int, shape: tuple[int, int]) -> Batch:
    """Return the documents as a batch of this shape; rows may stay empty."""
    ids = torch.full(shape, pad)
    is_target = torch.zeros(shape, dtype=torch.bool)
    sizes = torch.zeros(shape[0], dtype=torch.long)
    for b, (tokens, is_answer) in enumerate(group):
        ids[b, : len(tokens)] = torch.tensor(tokens)
        is_target[b, : len(tokens)] = torch.tensor(is_answer)
        sizes[b] = len(tokens)
    places = torch.arange(shape[1])
    can_follow = (places > 0) & (places < sizes[:, None])  # the first token follows nothing
    answers, others = is_target.flatten(), (can_follow & ~is_target).flatten()
    chosen = torch.cat([_shuffled(answers), _shuffled(others)])[: ids.numel() // 2]
    targets = torch.ones(ids.numel() // 2, dtype=torch.long)
    targets[: len(chosen)] = chosen
    weights = torch.zeros(len(targets))
    weights[: len(chosen)] = torch.where(answers[chosen], 1.0, OTHER_WEIGHT)
    return Batch(ids, sizes, targets, weights)


def _shuffled(is_chosen: Tensor) -> Tensor:
    """Return the indices of the chosen in random order."""
    chosen = is_chosen.nonzero().flatten()
    return chosen[torch.randperm(len(chosen))]


class Shards(Dataset):
    """Shard number → its batches; the same number gives the same batches, in any process."""

    def __init__(
        self, writer: Writer, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, *, seed: int
    ) -> None:
        self.writer, self.encoder, self.recipe, self.seed = writer, Encoder(tokenizer), recipe, seed
        self.pad = tokenizer.pad_token_id

    def __getitem__(self, number: int) -> list[Batch]:
        rng = random.Random(f"{self.seed}/{number}")
        num_documents = self.recipe.shard_documents
        documents = [
            self.writer.document(rng, level_of(rng, number * num_documents))
            for _ in range(num_documents)
        ]
        torch.manual_seed(rng.randrange(2**31))
        rows = self.encoder.encode(documents)
        return make_batches(rows, self.pad, rng, self.recipe)

    def from_number(self, first: int) -> Iterable[list[Batch]]:
        """Return the shards from `first` on, made by the recipe's workers, in order."""
        return DataLoader(
            self, batch_size=None, sampler=_CountFrom(first), num_workers=self.recipe.workers
        )


class _CountFrom:
    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, 10**9))


def level_of(rng: random.Random, documents_before: int) -> float:
    """Return the level of a document: easy ones first, then some long transcripts among them."""
    if documents_before < 15_000:
        return 0.1 + 0.9 * documents_before / 15_000
    return rng.choices([1.0, 2.0, 3.5], [0.7, 0.2, 0.1])[0]


def loss_of(model: Qwen3ForCausalLM, batch: Batch) -> Tensor:
    """Return the weighted mean negative log-likelihood of the trained tokens, in nats."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden.flatten(0, 1)[batch.targets - 1])  # (N, V)
    losses = F.cross_entropy(logits.float(), batch.ids.flatten()[batch.targets], reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum()


def bf16_is_fast() -> bool:
    """Is a matrix product of this CPU faster in bf16? On some it takes half the time, on others
    twice: docs/lab_book.md."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(4096, 384, dtype=dtype), torch.ones(1152, 384, dtype=dtype)
        F.linear(a, b)
        began = time.perf_counter()
        for _ in range(5):
            F.linear(a, b)
        seconds[dtype] = time.perf_counter() - began
    return seconds[torch.bfloat16] < 0.8 * seconds[torch.float32]


class Training:
    """One run in one folder: model, optimizers, the number of the next shard, a log.

    Threads and processes: one of each, beside the workers that make shards.
    """

    def __init__(
        self,
        folder: Path,
        writer: Writer,
        held_out: Writer,
        tokenizer: PreTrainedTokenizerFast,
        *,
        seed: int,
        total_tokens: float,
        total_seconds: float,
        decay: float,
        peak: float = 1.0,
        layers: int = 6,
        width: int = 384,
        hidden: int = 1152,
    ) -> None:
        self.folder = folder
        self.total_tokens, self.total_seconds = total_tokens, total_seconds
        self.decay, self.peak = decay, peak
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        is_gpu = self.device.type == "cuda"
        self.recipe = GPU if is_gpu else CPU
        self.has_fast_bf16 = is_gpu or bf16_is_fast()
        self.shards = Shards(writer, tokenizer, self.recipe, seed=seed)
        held_recipe = replace(self.recipe, batch_tokens=8192, shard_documents=HELD_OUT_DOCUMENTS)
        self.held_out = Shards(held_out, tokenizer, held_recipe, seed=seed)[10**6]
        torch.manual_seed(seed)
        self.model = new_model(tokenizer, layers=layers, width=width, hidden=hidden)
        self.model.to(self.device)
        if not is_gpu:  # plain matrix products: a tenth faster than the flash kernel of a CPU
            self.model.set_attn_implementation("eager")
        if self.recipe.dropout:
            add_dropout(self.model, self.recipe.dropout)
        matrices, others = [], []
        for name, parameter in self.model.named_parameters():
            (matrices if parameter.ndim == 2 and "embed" not in name else others).append(parameter)
        self.optimizers = [
            torch.optim.Muon(matrices, lr=0.01, weight_decay=0.05),
            torch.optim.AdamW(others, lr=3e-3, weight_decay=0.0, betas=(0.9, 0.95)),
        ]
        self.state = {"shard": 0, "tokens": 0, "seconds": 0.0, "steps": 0}

    @property
    def done(self) -> float:
        """The share of the run that is done; 1 at its end."""
        tokens, seconds = self.state["tokens"], self.state["seconds"]
        return max(tokens / self.total_tokens, seconds / self.total_seconds)

    def rate(self) -> float:
        """Return the factor of the learning rate: warm-up, constant, linear to 0."""
        warm = min(1.0, (self.state["steps"] + 1) / 50)
        return self.peak * warm * min(1.0, max(0.02, (1 - self.done) / self.decay))

    def run(self) -> None:
        """Train to the end of the run; the checkpoint is written every five minutes, and on any error."""
        torch._dynamo.config.recompile_limit = 2 * len(self.recipe.lengths)
        step = torch.compile(loss_of, dynamic=False)
        self.model.train()
        began = saved = time.monotonic()
        before = self.state["seconds"]
        window: list[Tensor] = []
        try:
            for batches in self.shards.from_number(self.state["shard"]):
                for batch in batches:
                    factor = self.rate()
                    window.append(self.train_on(batch, step, factor))
                    self.state["seconds"] = before + time.monotonic() - began
                    if self.state["steps"] % 50 == 0:
                        self.log(loss=_mean(window), rate=factor)
                        window.clear()
                    if self.state["steps"] % MEASURE_EVERY == 0:
                        self.log(held_out=self.loss_on_held_out())
                    if self.done >= 1:
                        break
                self.state["shard"] += 1
                if self.done >= 1:
                    break
                if time.monotonic() - saved > 300:
                    self.save()
                    saved = time.monotonic()
            self.log(held_out=self.loss_on_held_out())
        finally:
            self.save()

    def train_on(
        self, batch: Batch, step: Callable[[Qwen3ForCausalLM, Batch], Tensor], factor: float
    ) -> Tensor:
        """Take one step; return the loss before it."""
        for optimizer, rate in zip(self.optimizers, self.recipe.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
        loss = self.loss(batch, step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.state["tokens"] += int(batch.sizes.sum())
        self.state["steps"] += 1
        return loss.detach()

    def loss(self, batch: Batch, step: Callable[[Qwen3ForCausalLM, Batch], Tensor]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.has_fast_bf16):
            return step(self.model, batch.to(self.device))

    def loss_on_held_out(self) -> float:
        """Return the loss on documents with wordings that training has not, in nats."""
        self.model.eval()
        with torch.no_grad():
            losses = [self.loss(batch, loss_of) for batch in self.held_out]
        self.model.train()
        return _mean(losses)

    def log(self, **figures: float) -> None:
        row = self.state | {name: round(figure, 4) for name, figure in figures.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        logger.info("%s", row)

    def save(self) -> None:
        """Write the checkpoint beside the old one, then put it in its place."""
        path = self.folder / "checkpoint.pt"
        torch.save(
            {
                "model": self.model.state_dict(),
                "state": self.state,
                "optimizers": [o.state_dict() for o in self.optimizers],
            },
            path.with_suffix(".new"),
        )
        path.with_suffix(".new").replace(path)

    def resume(self) -> None:
        saved = torch.load(
            self.folder / "checkpoint.pt", weights_only=True, map_location=self.device
        )
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.state = saved["state"]

    def start_from(self, folder: Path) -> None:
        """Begin with the weights and the counts of another run; the schedule begins anew."""
        self.model.load_state_dict(Qwen3ForCausalLM.from_pretrained(folder).state_dict())
        earlier = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        self.state |= {"shard": earlier["shard"], "earlier": earlier}

    def save_weights(self, folder: Path) -> None:
        """Write the model in bf16, in shards, and the state of the run beside it."""
        self.model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="15MB")
        (folder / "state.json").write_text(json.dumps(self.state) + "\n", encoding="utf-8")


def _mean(losses: list[Tensor]) -> float:
    return torch.stack(losses).mean().item()
