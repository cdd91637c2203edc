"""What a run reads: shards made from their number, put into batches of few shapes.

Dimension key:
    B  rows in a batch
    T  tokens in a row; a row holds one document and padding
    N  tokens of a batch that are trained
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

from house.documents import Writer
from house.tokenizer import Encoder


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
"""Few tokens a batch, for many steps in an hour. No dropout: chosen, as so short a run underfits. With eight lengths
0.82 of the places were tokens, with these 0.89; a shape is compiled in six seconds."""

GPU = Recipe(
    batch_tokens=65536, shard_documents=6000, workers=14, rates=(0.02, 3e-3), dropout=0.05,
    lengths=(256, 384, 512, 640, 768, 1024, 1408, 2048),
)  # fmt: skip
"""A batch that fills the card; Muon's usual rate. Without dropout held-out wordings got worse from 100 M tokens on
(docs/lab_book.md); it is half of that of the fourth edition, which does not know its own lines."""

OTHER_WEIGHT = 0.25
"""Weight of what is not an answer. A third of N is left over by the answers and filled with such
tokens, drawn at random: it costs nothing. Measured: docs/lab_book.md."""


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
