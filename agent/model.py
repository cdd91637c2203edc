"""The base model: 4-bit weights, tokenizer, replies and log-probabilities under a chosen adapter.

Dimension key:
    B  sequences in a batch
    P  tokens of the prefix that all sequences of a batch share
    T  tokens of a sequence after that prefix, padded
    N  answer tokens of a batch, one sequence after the other
    V  vocabulary

Two silent corruptions are kept out, one in `checkpoint.py`, one in `slots.py`.
"""

import copy
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

from agent.checkpoint import compute_of, hash_of, load_checkpoint, make_trainable_through
from agent.halves import halves_of, packed_states, unpacked_states
from agent.packing import Answered, common_prefix, packed
from agent.prompts import Message
from agent.slots import BASE, AdapterSlots, upper_half, using

MIN_SHARED_PREFIX = 16
"""From this many common tokens on, a batch computes its prefix once. Chosen, not measured."""


class LanguageModel:
    """A causal language model that answers with the adapter it is told to.

        model = LanguageModel.load("house")
        with model.slots.adapter("ada@v3", load) as slot:
            model.generate([messages], slot=slot, max_new_tokens=40)

    The adapters are in `slots`; control tokens in what a user typed stay text.

    Threads: every method may be called from any thread.
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
        adapted: Callable[[torch.nn.Module], dict[str, list]] = upper_half,
        compute: torch.dtype | None = None,
    ) -> None:
        self._compute = compute
        self.name, self.tokenizer, self.base_hash = name, tokenizer, base_hash
        # One of its own: whether control tokens are split is state of a tokenizer, not of a call.
        self._text_tokenizer = copy.deepcopy(tokenizer)
        self.slots = AdapterSlots(
            model, num_slots=num_slots, lora_rank=lora_rank, lora_alpha=lora_alpha, adapted=adapted
        )
        self._model = self.slots.model
        self._halves = halves_of(self._model, self.slots.adapted["layers_to_transform"][0])
        self.max_context_tokens = int(getattr(model.config, "max_position_embeddings", 2048))

    @classmethod
    def load(
        cls,
        name: str,
        *,
        quantize: str = "nf4",
        num_slots: int = 8,
        lora_rank: int = 16,
        lora_alpha: int = 32,
        adapted: Callable[[torch.nn.Module], dict[str, list]] = upper_half,
        compute: torch.dtype | None = None,
    ) -> "LanguageModel":
        """Load a base model.

        Args:
            name: "house", a folder, or a hub id.
            quantize: "nf4" or "none".
            num_slots: Generations kept ready for replies.
            adapted: Says of a model where its adapters are.
            compute: Type of `answer_logits` on a CPU; None takes bf16 where the CPU has AMX, which
                is faster there alone, and in long passes alone: docs/lab_book.md.

        Raises:
            ModelError: If there is no such model, or it cannot be talked to as `prompts.py` does.
        """
        # oneDNN keeps a compiled product for every length of a batch, 1,024 of them: half a gigabyte
        # after a consolidation. With 32 it takes no longer: docs/lab_book.md.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")

        def made() -> "LanguageModel":
            model, tokenizer = load_checkpoint(name, quantize)
            where = adapted.__name__.replace("_", " ")
            base_hash = hash_of(model, tokenizer, f"{quantize}/{lora_rank}/{lora_alpha}/{where}")
            make_trainable_through(model)
            return cls(model, tokenizer, name=name, base_hash=base_hash, num_slots=num_slots,
                       lora_rank=lora_rank, lora_alpha=lora_alpha, adapted=adapted,
                       compute=compute or compute_of(model.device.type))  # fmt: skip

        # In a thread that ends: with one more pool of its threads alive than there are processors,
        # OpenMP wakes every thread anew for every product, and a training step takes 1.6 times as long.
        with ThreadPoolExecutor(1) as loader:
            return loader.submit(made).result()

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
        return [*self.encode_text(text), self._end_ids[0]]

    def encode_text(self, text: str) -> list[int]:
        """Return the token ids of a text; control tokens in it are text."""
        return self._text_tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]

    def count_tokens(self, text: str) -> int:
        return len(self.encode_text(text))

    @property
    def _end_ids(self) -> list[int]:
        """The tokens that end a reply, first the one that the chat template ends it with."""
        ends = self._model.generation_config.eos_token_id
        ends = list(ends) if isinstance(ends, list) else [ends]
        usual = self.tokenizer.eos_token_id
        return [usual, *(end for end in ends if end not in (usual, None))]

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
        with using(slot):
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
                with using(slot), torch.inference_mode():
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

    def answer_logits(
        self, batch: Sequence[Answered], *, slot: str, lower: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Return the logits that predict the answer tokens.

        Row n is the prediction *of* answer token n (made one position earlier); the answers of
        the batch follow one another. Only these positions go through the output layer.

        Args:
            lower: What `lower_states` returned for these sequences, to go on from there.

        Returns:
            (N, V), with a gradient for the training slot unless inside `torch.inference_mode`.
        """
        ids, positions, mask, targets = packed(batch)
        model, start = self._model, {"input_ids": ids.to(self._model.device)}
        if lower is not None:
            prefix = common_prefix([item.prompt for item in batch])
            model, start = self._halves[1], {"inputs_embeds": packed_states(lower, prefix)}
        with using(slot), self._computing():
            return model(
                **start,
                **self._places(positions, mask),
                logits_to_keep=targets.to(self._model.device) - 1,
            ).logits[0]  # (N, V)

    def lower_states(self, batch: Sequence[Answered]) -> list[Tensor] | None:
        """Return what the layers below the adapters make of each sequence, (T, width), the same in every
        slot; None if this model cannot be cut there (`halves.py`)."""
        if self._halves is None:
            return None
        ids, positions, mask, _ = packed(batch)
        with using(BASE), self._computing(), torch.no_grad():
            row = self._halves[0](
                input_ids=ids.to(self._model.device), **self._places(positions, mask)
            ).last_hidden_state[0]
        sizes = [len(item.prompt) + len(item.answer) for item in batch]
        return unpacked_states(row, sizes, common_prefix([item.prompt for item in batch]))

    def answer_probabilities(self, batch: Sequence[Answered], *, slot: str) -> list[float]:
        """Return the probability of each answer as a whole, in the order of the batch."""
        with torch.inference_mode():
            log_probs = self.answer_logits(batch, slot=slot).float().log_softmax(-1)  # (N, V)
        tokens = torch.tensor([token for item in batch for token in item.answer])
        of_tokens = log_probs.cpu().gather(1, tokens[:, None])[:, 0]
        parts = of_tokens.split([len(item.answer) for item in batch])
        return [part.sum().exp().item() for part in parts]

    # -- inside -----------------------------------------------------------------------------

    def _computing(self) -> torch.autocast:
        """Return the context of a long pass: autocast where another type is faster."""
        is_mixed = self._compute is not None and self._compute != self._model.dtype
        return torch.autocast(self._model.device.type, self._compute, enabled=is_mixed)

    def _places(self, positions: Tensor, mask: Tensor) -> dict[str, object]:
        """Return what a packed row needs beside its tokens."""
        device = self._model.device
        return {
            "position_ids": positions.to(device),
            "attention_mask": mask.to(device, self._model.dtype),
            "use_cache": False,
        }

    @property
    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return self._end_ids[0] if pad is None else pad

    def _shared_prefix(self, encoded: Sequence[Sequence[int]]) -> tuple[int, DynamicCache | None]:
        """Return P and a cache of the P tokens that all sequences begin with, repeated for the
        batch; (0, None) if that is not worth it. The last token of a prompt is never in it."""
        if len(encoded) < 2:
            return 0, None
        prefix = common_prefix(encoded)
        if prefix < MIN_SHARED_PREFIX:
            return 0, None
        cache = DynamicCache()
        ids = torch.tensor([list(encoded[0][:prefix])], device=self._model.device)
        with torch.inference_mode():
            self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
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
