"""Train the house model from scratch, on one CPU or one GPU, in runs that can be resumed.

    shard (made from its number) → documents → rows by length → batches → Muon + AdamW

Dimension key:
    B  rows in a batch
    T  tokens in a row; a row holds whole documents, each of which sees only itself
    N  answer tokens of a batch that are trained

The learning rate is constant after a short warm-up and falls linearly to 0 over the last
`decay` of the run, so a longer run can start from any checkpoint of a shorter one that was
taken before its decay.
"""

import json
import logging
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from house.documents import Writer
from house.tokenizer import Encoder

logger = logging.getLogger(__name__)

BATCH_TOKENS = 6144
"""B · T of every batch. Chosen: few enough for many steps in an hour of CPU."""

ROW_TOKENS = (768, 1024)
"""T of the two sorts of batch."""

OTHER_WEIGHT = 0.5
"""Weight of what is not an answer. A third of N is left over by the answers and filled with such
tokens, drawn at random: it costs nothing. Measured: docs/lab_book.md."""

SHARD_DOCUMENTS = 1200
"""Documents made at a time; batches do not cross shards."""


def new_model(
    tokenizer: PreTrainedTokenizerFast, *, layers: int = 6, width: int = 320, hidden: int = 960
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


@dataclass
class Batch:
    """One step's tensors, of one of two fixed shapes."""

    ids: Tensor
    """(B, T) token ids."""
    positions: Tensor
    """(B, T) position in its document."""
    documents: Tensor
    """(B, T) number of the document a token belongs to; -1 on padding."""
    targets: Tensor
    """(N,) flat index of the trained tokens; the prediction of token i is made at i - 1."""
    weights: Tensor
    """(N,) 1 for a token of an answer, `OTHER_WEIGHT` for one of a user or a transcript."""


def make_batches(
    rows: list[tuple[list[int], list[bool]]], pad: int, rng: random.Random
) -> list[Batch]:
    """Pack documents into rows, and rows into batches.

    Each document goes, longest first, into the first row with room. Long rows are dear, so they
    are opened for documents that fit nowhere else; short documents fill them up.
    """
    packed: dict[int, list[list[tuple[list[int], list[bool]]]]] = {size: [] for size in ROW_TOKENS}
    places: list[tuple[int, list]] = []
    room: list[int] = []
    for row in sorted(rows, key=lambda row: -len(row[0])):
        size = next((size for size in ROW_TOKENS if len(row[0]) <= size), None)
        if size is None:
            continue
        place = next((i for i, left in enumerate(room) if left >= len(row[0])), None)
        if place is None:
            place = len(places)
            places.append((size, []))
            room.append(size)
        places[place][1].append(row)
        room[place] -= len(row[0])
    for size, documents in places:
        packed[size].append(documents)
    batches = []
    for size, filled in packed.items():
        rng.shuffle(filled)
        num_rows = BATCH_TOKENS // size
        for start in range(0, len(filled) - num_rows + 1, num_rows):
            batches.append(_batch(filled[start : start + num_rows], size, pad))
    rng.shuffle(batches)
    return batches


def _batch(packed: list, length: int, pad: int) -> Batch:
    ids = torch.full((len(packed), length), pad)
    positions = torch.zeros((len(packed), length), dtype=torch.long)
    documents = torch.full((len(packed), length), -1)
    is_target = torch.zeros((len(packed), length), dtype=torch.bool)
    for b, row in enumerate(packed):
        at = 0
        for number, (tokens, is_answer) in enumerate(row):
            end = at + len(tokens)
            ids[b, at:end] = torch.tensor(tokens)
            positions[b, at:end] = torch.arange(len(tokens))
            documents[b, at:end] = number
            is_target[b, at:end] = torch.tensor(is_answer)
            at = end
    can_follow = positions.flatten() > 0  # the first token of a document follows nothing
    answers, others = is_target.flatten(), can_follow & ~is_target.flatten()
    size = BATCH_TOKENS // 2  # a fixed N keeps the compiled step from being compiled again
    targets = torch.cat([_shuffled(answers), _shuffled(others)])[:size]
    weights = torch.where(answers[targets], 1.0, OTHER_WEIGHT)
    return Batch(ids, positions, documents, targets, weights)


def _shuffled(is_chosen: Tensor) -> Tensor:
    """Return the indices of the chosen in random order."""
    chosen = is_chosen.nonzero().flatten()
    return chosen[torch.randperm(len(chosen))]


def batches_of_shard(
    writer: Writer, encoder: Encoder, number: int, *, seed: int, level: float, pad: int
) -> list[Batch]:
    """Return the batches of shard `number`; the same arguments give the same batches."""
    rng = random.Random(f"{seed}/{number}")
    documents = [writer.document(rng, level) for _ in range(SHARD_DOCUMENTS)]
    torch.manual_seed(rng.randrange(2**31))
    return make_batches(encoder.encode(documents), pad, rng)


def loss_of(model: Qwen3ForCausalLM, batch: Batch) -> Tensor:
    """Return the weighted mean negative log-likelihood of the trained tokens, in nats."""
    same = batch.documents[:, :, None] == batch.documents[:, None, :]  # (B, T, T)
    length = batch.ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=batch.ids.device).tril()
    hidden = model.model(
        input_ids=batch.ids,
        attention_mask=(same & causal)[:, None],
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state
    logits = model.lm_head(hidden.flatten(0, 1)[batch.targets - 1])  # (N, V)
    losses = F.cross_entropy(logits.float(), batch.ids.flatten()[batch.targets], reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum()


class Training:
    """One run in one folder: model, optimizers, the number of the next shard, a log.

    Threads and processes: one of each.
    """

    def __init__(
        self,
        folder: Path,
        writer: Writer,
        tokenizer: PreTrainedTokenizerFast,
        *,
        seed: int,
        total_tokens: float,
        decay: float,
    ) -> None:
        self.folder, self.writer, self.tokenizer = folder, writer, tokenizer
        self.seed, self.total_tokens, self.decay = seed, total_tokens, decay
        torch.manual_seed(seed)
        self.model = new_model(tokenizer)
        matrices, others = [], []
        for name, parameter in self.model.named_parameters():
            (matrices if parameter.ndim == 2 and "embed" not in name else others).append(parameter)
        self.optimizers = [
            torch.optim.Muon(matrices, lr=0.01, weight_decay=0.01),
            torch.optim.AdamW(others, lr=3e-3, weight_decay=0.0, betas=(0.9, 0.95)),
        ]
        self.state = {"shard": 0, "tokens": 0, "seconds": 0.0, "steps": 0}

    def rate(self) -> float:
        """Return the factor of the learning rate: warm-up, constant, linear to 0."""
        done = self.state["tokens"] / self.total_tokens
        warm = min(1.0, (self.state["steps"] + 1) / 50)
        return warm * min(1.0, max(0.02, (1 - done) / self.decay))

    def run(self, *, max_seconds: float) -> None:
        encoder, step = Encoder(self.tokenizer), torch.compile(loss_of)
        rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        rates = [0.01, 3e-3] if self.state["steps"] else rates
        began = saved = time.monotonic()
        before = self.state["seconds"]
        window: list[float] = []
        while self.state["tokens"] < self.total_tokens and time.monotonic() - began < max_seconds:
            level = min(1.0, 0.1 + self.state["tokens"] / 5e6)
            for batch in batches_of_shard(
                self.writer,
                encoder,
                self.state["shard"],
                seed=self.seed,
                level=level,
                pad=self.tokenizer.pad_token_id,
            ):
                factor = self.rate()
                for optimizer, rate in zip(self.optimizers, rates, strict=True):
                    optimizer.param_groups[0]["lr"] = rate * factor
                loss = step(self.model, batch)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                for optimizer in self.optimizers:
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                window.append(loss.item())
                self.state["tokens"] += int((batch.documents >= 0).sum())
                self.state["steps"] += 1
                self.state["seconds"] = before + time.monotonic() - began
                if self.state["steps"] % 50 == 0:
                    self.log(sum(window) / len(window), factor)
                    window.clear()
            self.state["shard"] += 1
            if time.monotonic() - saved > 300:
                self.save()
                saved = time.monotonic()
        self.save()

    def log(self, loss: float, factor: float) -> None:
        row = self.state | {"loss": round(loss, 4), "rate": round(factor, 3)}
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
        saved = torch.load(self.folder / "checkpoint.pt", weights_only=True)
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.state = saved["state"]
