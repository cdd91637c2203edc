"""The base model: 4-bit weights, tokenizer, and a pool of adapter slots chosen per call.

Dimension key:
    B  sequences in a batch
    P  tokens of the prefix that all sequences of a batch share
    T  tokens of a sequence after that prefix, padded
    S  tokens of a packed batch: the prefix once, then the rest of each sequence
    N  answer tokens of a batch, one sequence after the other
    V  vocabulary
    R  LoRA rank

Two silent corruptions are kept out here:

1. PEFT's active adapter is state of the model: two threads that switch it answer with each
   other's memory. Here every LoRA layer asks a context variable for its slot at each call, and an
   unset variable is an error. Nothing is ever switched.
2. bitsandbytes repacks 4-bit weights at the first forward pass without gradients on CPUs with
   AVX512-BF16, and gradients through the packed weights are wrong. The packing is switched off,
   and on a CPU with room the weights are unpacked once, which also is faster.
"""

import contextvars
import functools
import gc
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bitsandbytes as bnb
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    DynamicCache,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

from agent import prompts
from agent.errors import AdapterError, ModelError
from agent.prompts import Message

logger = logging.getLogger(__name__)

BASE = "__base__"
"""The name of no adapter: the base model itself, and the teacher."""

TRAINING = "candidate"
"""The slot that a consolidation trains."""

HOUSE_DIR = Path(__file__).parent.parent / "house" / "weights"

MAX_UNPACKED_BYTES = 2 * 1024**3
"""Unpack the 4-bit weights on a CPU only if they then take less. Chosen, not measured."""

MIN_SHARED_PREFIX = 16
"""From this many common tokens on, a batch computes its prefix once. Chosen, not measured."""

_slot: contextvars.ContextVar[str] = contextvars.ContextVar("adapter_slot")


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and the answer that follows it, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass
class _Slot:
    name: str
    holds: str | None = None
    """The generation in it, `<user_id>@v<n>`."""
    pins: int = 0
    used_at: float = 0.0
    weights: dict[str, torch.nn.Parameter] = field(default_factory=dict)


class LanguageModel:
    """A causal language model that answers with the adapter it is told to.

        model = LanguageModel.load("house")
        with model.adapter("ada@v3", load) as slot:
            model.generate([messages], slot=slot, max_new_tokens=40)

    Promises:
        1. A forward pass without a chosen slot raises; there is no default adapter.
        2. A slot is not given to another generation while a reply uses it.
        3. Weights of the base never change: nothing is merged, nothing is switched.
        4. Control tokens in what a user typed stay text.

    Threads: every method may be called from any thread. The training slot belongs to one thread
    at a time, the consolidator's.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: object,
        *,
        name: str,
        base_hash: str,
        num_slots: int,
        lora_rank: int,
        lora_alpha: int,
    ) -> None:
        self.name, self.tokenizer, self.base_hash = name, tokenizer, base_hash
        self.lora_rank, self.lora_alpha = lora_rank, lora_alpha
        self._slots = [_Slot(f"slot{i}") for i in range(num_slots)]
        self._training = _Slot(TRAINING)
        self._free = threading.Condition()
        config = LoraConfig(
            r=lora_rank, lora_alpha=lora_alpha, target_modules="all-linear", lora_dropout=0.0
        )
        names = [slot.name for slot in (*self._slots, self._training)]
        peft_model = get_peft_model(model, config, adapter_name=names[0])
        for slot_name in names[1:]:
            peft_model.add_adapter(slot_name, config)
        self._model = peft_model.base_model.model.eval()
        self.max_context_tokens = int(getattr(model.config, "max_position_embeddings", 2048))
        self._register_slots(names)

    @classmethod
    def load(
        cls,
        name: str,
        *,
        quantize: str = "nf4",
        num_slots: int = 8,
        lora_rank: int = 16,
        lora_alpha: int = 32,
    ) -> "LanguageModel":
        """Load a base model.

        Args:
            name: "house", a folder, or a hub id.
            quantize: "nf4" or "none".
            num_slots: Generations kept ready for replies.

        Raises:
            ModelError: If there is no such model, or it has no chat template.
        """
        path = _find(name)
        torch.set_num_threads(max(1, torch.get_num_threads()))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        ) if quantize == "nf4" else None  # fmt: skip
        try:
            tokenizer = AutoTokenizer.from_pretrained(path)
            model = AutoModelForCausalLM.from_pretrained(
                path, quantization_config=config, dtype=dtype, device_map={"": device}
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"The model {name!r} cannot be loaded ({_first_line(error)}). Pass --model house, "
                f"a folder with config.json, weights and tokenizer, or the id of a hub model."
            ) from error
        if tokenizer.chat_template is None:
            raise ModelError(
                f"The model {name!r} has no chat template, so it cannot be talked to. Pass an instruct model."
            )
        model.requires_grad_(False)
        base_hash = _hash_of(model, tokenizer, quantize)
        for module in model.modules():
            if isinstance(module, bnb.nn.Linear4bit):
                module.support_avx512bf16_for_cpu = False  # corruption 2
        if quantize == "nf4" and device == "cpu" and _unpacked_bytes(model) <= MAX_UNPACKED_BYTES:
            _unpack(model)
        return cls(model, tokenizer, name=name, base_hash=base_hash, num_slots=num_slots,
                   lora_rank=lora_rank, lora_alpha=lora_alpha)  # fmt: skip

    # -- adapter slots -------------------------------------------------------------

    @contextmanager
    def adapter(
        self,
        holds: str | None,
        load: Callable[[], dict[str, Tensor]],
        *,
        on_wait: Callable[[], None] = lambda: None,
    ) -> Iterator[str]:
        """Pin a slot that holds a generation, and yield the slot's name.

        Args:
            holds: `<user_id>@v<n>`, or None for no adapter (yields `BASE`).
            load: Returns the adapter's tensors; called only if no slot holds them.
            on_wait: Called once if all slots are in use and this reply has to queue.

        Raises:
            AdapterError: If the tensors do not fit this model.
        """
        if holds is None:
            yield BASE
            return
        slot = self._pin(holds, load, on_wait)
        try:
            yield slot.name
        finally:
            with self._free:
                slot.pins -= 1
                self._free.notify_all()

    def _pin(
        self, holds: str, load: Callable[[], dict[str, Tensor]], on_wait: Callable[[], None]
    ) -> _Slot:
        with self._free:
            has_waited = False
            while True:
                slot = next((slot for slot in self._slots if slot.holds == holds), None)
                if slot is None:
                    free = [slot for slot in self._slots if slot.pins == 0]
                    if not free:
                        if not has_waited:
                            on_wait()
                            has_waited = True
                        self._free.wait()
                        continue
                    slot = min(free, key=lambda slot: slot.used_at)
                    slot.holds = None  # a failed copy must not be taken for either generation
                    self._copy_in(slot, load())
                    slot.holds = holds
                slot.pins += 1
                slot.used_at = time.monotonic()
                return slot

    def drop(self, prefix: str) -> None:
        """Empty the slots whose generation begins with `prefix` (a forgotten user's)."""
        with self._free:
            for slot in self._slots:
                if slot.holds and slot.holds.startswith(prefix):
                    slot.holds = None
                    if slot.pins == 0:
                        for parameter in slot.weights.values():
                            parameter.data.zero_()

    def training_parameters(self) -> list[torch.nn.Parameter]:
        return list(self._training.weights.values())

    def start_training(self, tensors: dict[str, Tensor] | None, *, seed: int) -> None:
        """Fill the training slot: with `tensors`, or freshly (A random, B zero: no effect)."""
        if tensors is not None:
            self._copy_in(self._training, tensors)
            return
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self._training.weights.items():
            if "lora_A" in name:
                # Kaiming uniform with a = sqrt(5), peft's default: bound 1 / sqrt(inputs).
                bound = parameter.shape[1] ** -0.5
                noise = torch.rand(parameter.shape, generator=generator) * 2 * bound - bound
                parameter.data.copy_(noise)
            else:
                parameter.data.zero_()

    def trained_tensors(self) -> dict[str, Tensor]:
        """Return a copy of the training slot in bf16, as it is published."""
        return {
            name: parameter.detach().to("cpu", torch.bfloat16).clone().contiguous()
            for name, parameter in self._training.weights.items()
        }

    def _copy_in(self, slot: _Slot, tensors: dict[str, Tensor]) -> None:
        if tensors.keys() != slot.weights.keys():
            raise AdapterError(
                f"The adapter has {len(tensors)} tensors, this model wants {len(slot.weights)} of other names: "
                f"it was made for another model."
            )
        for name, parameter in slot.weights.items():
            if tensors[name].shape != parameter.shape:
                raise AdapterError(
                    f"The adapter's {name} is {tuple(tensors[name].shape)}, this model wants {tuple(parameter.shape)}."
                )
        for name, parameter in slot.weights.items():
            parameter.data.copy_(tensors[name])

    def _register_slots(self, names: list[str]) -> None:
        """Have every LoRA layer compute with the slot of the call it is in. PEFT's own way to
        choose adapters per call takes batches apart by adapter, and is half as fast."""
        slots = {slot.name: slot for slot in (*self._slots, self._training)}

        for path, module in self._model.named_modules():
            if not isinstance(module, LoraLayer):
                continue
            module.forward = functools.partial(_adapted, module)
            for name in names:
                for part in ("lora_A", "lora_B"):
                    parameter = getattr(module, part)[name].weight
                    parameter.requires_grad_(name == TRAINING)
                    slots[name].weights[f"base_model.model.{path}.{part}.weight"] = parameter

    # -- text to tokens ---------------------------------------------------------------

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return a prompt's token ids, ready for the reply to follow."""
        encoded = self.tokenizer.apply_chat_template(
            list(messages),
            add_generation_prompt=True,
            sanitize_control_tokens=True,
            return_dict=True,
        )
        return list(encoded["input_ids"])

    def encode_answer(self, text: str) -> list[int]:
        """Return the token ids of a whole reply, the token that ends it included."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*ids, self._end_ids[0]]

    def count_tokens(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def _end_ids(self) -> list[int]:
        ends = self._model.generation_config.eos_token_id
        ends = self.tokenizer.eos_token_id if ends is None else ends
        return list(ends) if isinstance(ends, list) else [ends]

    # -- replies ------------------------------------------------------------------------

    @torch.inference_mode()
    def generate(
        self,
        batch: Sequence[Sequence[Message]],
        *,
        slot: str,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        on_token: Callable[[], None] | None = None,
    ) -> list[str]:
        """Return a reply for each list of messages; greedy at temperature 0. `on_token` is called
        after every step of the batch; it may block (replies go first) or raise (cancel)."""
        encoded = [self.encode(messages) for messages in batch]
        with _using(slot):
            prefix, cache = self._shared_prefix(encoded)
            ids, mask = self._left_padded(encoded, prefix)
            if temperature > 0:
                torch.manual_seed(seed)
            output = self._model.generate(
                input_ids=ids, attention_mask=mask, past_key_values=cache, max_new_tokens=max_new_tokens,
                do_sample=temperature > 0, temperature=temperature or None, top_k=None, top_p=None,
                pad_token_id=self._pad_id, eos_token_id=self._end_ids,
                stopping_criteria=StoppingCriteriaList([_Called(on_token)] if on_token else []),
            )  # fmt: skip
        return self.tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        slot: str,
        max_new_tokens: int,
        stop: threading.Event | None = None,
    ) -> Iterator[str]:
        """Yield a greedy reply piece by piece. Setting `stop`, or closing the iterator, ends the
        computation at the next token; the iterator returns only when it has ended."""
        stop = stop or threading.Event()
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        ids = torch.tensor([self.encode(messages)], device=self._model.device)
        failure: list[BaseException] = []

        def work() -> None:
            # The slot is set here: a context variable does not cross into a thread.
            try:
                with _using(slot), torch.inference_mode():
                    self._model.generate(
                        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens,
                        do_sample=False, streamer=streamer, pad_token_id=self._pad_id, eos_token_id=self._end_ids,
                        stopping_criteria=StoppingCriteriaList([_Stop(stop)]),
                    )  # fmt: skip
            except BaseException as error:  # noqa: BLE001 - carried to the caller's thread, raised there
                failure.append(error)
            finally:
                streamer.end()

        worker = threading.Thread(target=work, name="reply", daemon=True)
        worker.start()
        try:
            yield from (piece for piece in streamer if piece)
        finally:
            stop.set()
            worker.join()
        if failure:
            raise failure[0]

    # -- log-probabilities ---------------------------------------------------------------

    def answer_logits(self, batch: Sequence[Answered], *, slot: str) -> Tensor:
        """Return the logits that predict the answer tokens.

        Row n is the prediction *of* answer token n (made one position earlier); the answers of
        the batch follow one another. Only these positions go through the output layer.

        Returns:
            (N, V), with a gradient for the training slot unless inside `torch.inference_mode`.
        """
        ids, positions, mask, targets = _packed(batch)
        device, dtype = self._model.device, self._model.dtype
        with _using(slot):
            hidden = self._model.model(
                input_ids=ids.to(device),
                position_ids=positions.to(device),
                attention_mask=mask.to(device, dtype),
                use_cache=False,
            ).last_hidden_state[0]  # (S, H)
            return self._model.lm_head(hidden[targets.to(device) - 1])  # (N, V)

    # -- inside -----------------------------------------------------------------------------

    @property
    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return self._end_ids[0] if pad is None else pad

    def _shared_prefix(self, encoded: Sequence[Sequence[int]]) -> tuple[int, DynamicCache | None]:
        """Return P and a cache of the P tokens that all sequences begin with, repeated for the
        batch; (0, None) if that is not worth it. The last token of a prompt is never in it."""
        if len(encoded) < 2:
            return 0, None
        prefix = _common_prefix(encoded)
        if prefix < MIN_SHARED_PREFIX:
            return 0, None
        cache = DynamicCache()
        ids = torch.tensor([list(encoded[0][:prefix])], device=self._model.device)
        with torch.inference_mode():
            self._model.model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(encoded))
        return prefix, cache

    def _left_padded(self, encoded: Sequence[Sequence[int]], prefix: int) -> tuple[Tensor, Tensor]:
        """Return ids and mask (B, P + T), the padding between prefix and rest."""
        longest = max(len(ids) for ids in encoded)
        ids = torch.full((len(encoded), longest), self._pad_id)
        mask = torch.zeros((len(encoded), longest), dtype=torch.long)
        for b, tokens in enumerate(encoded):
            start = longest - len(tokens) + prefix
            ids[b, :prefix] = torch.tensor(tokens[:prefix], dtype=torch.long)
            ids[b, start:] = torch.tensor(tokens[prefix:])
            mask[b, :prefix] = 1
            mask[b, start:] = 1
        return ids.to(self._model.device), mask.to(self._model.device)


class _Stop(StoppingCriteria):
    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        return torch.full((input_ids.shape[0],), self._event.is_set(), device=input_ids.device)


class _Called(StoppingCriteria):
    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        self._function()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def _adapted(layer: LoraLayer, x: Tensor) -> Tensor:
    """Return W x + (alpha / R) B A x, with A and B of the call's slot: the forward pass of every LoRA
    layer. Nothing about the layer changes, so that calls on several threads cannot meet."""
    try:
        slot = _slot.get()
    except LookupError:
        raise AdapterError(
            "No adapter was chosen for this call; pass slot=BASE for none."
        ) from None
    result = layer.base_layer(x)
    if slot == BASE:
        return result
    down, up = layer.lora_A[slot], layer.lora_B[slot]
    return result + (up(down(x.to(down.weight.dtype))) * layer.scaling[slot]).to(result.dtype)


def _common_prefix(prompts_: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all begin with; the last token of a prompt never counts."""
    first, last = min(prompts_), max(prompts_)
    shortest = min(len(ids) for ids in prompts_) - 1
    return next((i for i in range(shortest) if first[i] != last[i]), shortest)


def _packed(batch: Sequence[Answered]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Put a batch into one row of S tokens: the common prefix once, then the rest of each sequence,
    which sees the prefix and itself. The same numbers as a padded batch, without its waste.

    Returns:
        ids (1, S), positions (1, S), additive mask (1, 1, S, S), indexes of the answer tokens (N,).
    """
    prefix = _common_prefix([item.prompt for item in batch])
    ids, positions, owners, targets = (
        list(batch[0].prompt[:prefix]),
        list(range(prefix)),
        [0] * prefix,
        [],
    )
    for number, item in enumerate(batch, start=1):
        tokens = (*item.prompt, *item.answer)
        ids += tokens[prefix:]
        positions += range(prefix, len(tokens))
        owners += [number] * (len(tokens) - prefix)
        targets += range(len(ids) - len(item.answer), len(ids))
    owner = torch.tensor(owners)
    is_seen = (owner[:, None] == owner) | (owner == 0)
    is_seen &= torch.ones_like(is_seen).tril()
    mask = torch.zeros(is_seen.shape).masked_fill(~is_seen, torch.finfo(torch.bfloat16).min)
    return torch.tensor([ids]), torch.tensor([positions]), mask[None, None], torch.tensor(targets)


@contextmanager
def _using(slot: str) -> Iterator[None]:
    token = _slot.set(slot)
    try:
        yield
    finally:
        _slot.reset(token)


def _find(name: str) -> str:
    """Return what transformers can load for a --model."""
    if name == "house":
        name = str(HOUSE_DIR)
    looks_like_folder = name.startswith((".", "/", "~")) or Path(name).expanduser().is_dir()
    if looks_like_folder:
        folder = Path(name).expanduser()
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"No model in {folder}: config.json is missing. Pass --model house, a folder that has one, or a hub id."
            )
        return str(folder)
    return name


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _hash_of(model: torch.nn.Module, tokenizer: object, quantize: str) -> str:
    """Return sha256 over weights, tokenizer, chat template, prompts.py and quantization: what an
    adapter was made for (`design.md` 2)."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(
            tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    digest.update(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode())
    digest.update(str(tokenizer.chat_template).encode())
    digest.update(Path(prompts.__file__).read_bytes())
    digest.update(quantize.encode())
    return digest.hexdigest()


def _unpacked_bytes(model: torch.nn.Module) -> int:
    return sum(
        module.in_features * module.out_features * 4
        for module in model.modules()
        if isinstance(module, bnb.nn.Linear4bit)
    )


def _unpack(model: torch.nn.Module) -> None:
    """Replace each 4-bit layer by a plain one that holds the same (quantized) numbers."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, bnb.nn.Linear4bit):
                weight = bnb.functional.dequantize_4bit(child.weight.data, child.weight.quant_state)
                plain = torch.nn.Linear(
                    child.in_features,
                    child.out_features,
                    bias=child.bias is not None,
                    device="meta",
                )
                plain.weight = torch.nn.Parameter(weight.to(torch.float32), requires_grad=False)
                if child.bias is not None:
                    plain.bias = torch.nn.Parameter(
                        child.bias.data.to(torch.float32), requires_grad=False
                    )
                setattr(parent, name, plain)
    model.is_loaded_in_4bit = False
    gc.collect()
