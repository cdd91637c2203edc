"""Train the house model from scratch, on one CPU or one GPU, in runs that can be resumed.

    batches (`batches.py`) → loss of N chosen tokens → Muon + AdamW

The learning rate is constant after a short warm-up and falls linearly to 0 over the last
`decay` of the run, so a longer run can start from any checkpoint of a shorter one that was
taken before its decay. A run ends at a number of tokens, or of minutes if they come first.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from house.batches import CPU, GPU, Batch, Shards
from house.documents import Writer

logger = logging.getLogger(__name__)

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
