"""Adapter slots: a pool of LoRA weights on one model, chosen per call.

Dimension key:
    R  LoRA rank

PEFT's active adapter is state of the model: two threads that switch it answer with each other's
memory. Here every LoRA layer asks a context variable for its slot at each call, and an unset
variable is an error. Nothing is ever switched.
"""

import contextvars
import functools
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor

from agent.errors import AdapterError

BASE = "__base__"
"""The name of no adapter: the base model itself, and the teacher."""

TRAINING = "candidate"
"""The slot that a consolidation trains."""

_slot: contextvars.ContextVar[str] = contextvars.ContextVar("adapter_slot")


@dataclass
class _Slot:
    name: str
    holds: str | None = None
    """The generation in it, `<user_id>@v<n>`."""
    pins: int = 0
    used_at: float = 0.0
    weights: dict[str, torch.nn.Parameter] = field(default_factory=dict)

    def clear(self) -> None:
        for parameter in self.weights.values():
            parameter.data.zero_()


def upper_half(model: torch.nn.Module) -> dict[str, list]:
    """Return the linear modules of the upper half of the layers, as peft's configuration names them.
    A memory there answers as well as one in all layers, changes a fifth as much of what has nothing
    to do with the user, and is trained in three quarters of the time: docs/lab_book.md."""
    number = model.config.get_text_config().num_hidden_layers
    inside = re.compile(r"\.\d+\.(?:.*\.)?(\w+)$")
    names = {
        found[1]
        for path, module in model.named_modules()
        if (isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D")  # GPT-2's
        and (found := inside.search(path))
    }
    return {
        "target_modules": sorted(names),
        "layers_to_transform": list(range(number // 2, number)),
    }


class AdapterSlots:
    """N slots of equal rank for replies, and one that a consolidation trains.

        with slots.adapter("ada@v3", load) as slot, using(slot):
            model(...)

    Promises:
        1. A forward pass without a chosen slot raises; there is no default adapter.
        2. A slot is not given to another generation while a reply uses it.
        3. Weights of the base never change: nothing is merged, nothing is switched.

    Threads: every method may be called from any thread. The training slot belongs to one thread
    at a time, the consolidator's.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        num_slots: int,
        lora_rank: int,
        lora_alpha: int,
        adapted: Callable[[torch.nn.Module], dict[str, list]] = upper_half,
    ) -> None:
        self._slots = [_Slot(f"slot{i}") for i in range(num_slots)]
        self._training = _Slot(TRAINING)
        self._free = threading.Condition()
        self.adapted = adapted(model)
        """What peft's configuration says of where an adapter is."""
        config = LoraConfig(r=lora_rank, lora_alpha=lora_alpha, lora_dropout=0.0, **self.adapted)
        first, *others = (*self._slots, self._training)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for an old name
            peft_model = get_peft_model(model, config, adapter_name=first.name)
            for slot in others:
                peft_model.add_adapter(slot.name, config)
        self.model = peft_model.base_model.model.eval()
        """The model with the slots in it."""
        self._register()

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
                if slot.pins == 0 and slot.holds is None:
                    slot.clear()
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
                        slot.clear()

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

    def end_training(self) -> None:
        """Leave nothing of a user in the training slot, not even a gradient."""
        self._training.clear()
        for parameter in self._training.weights.values():
            parameter.grad = None

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

    def _register(self) -> None:
        """Have every LoRA layer compute with the slot of the call it is in. PEFT's own way to
        choose adapters per call takes batches apart by adapter, and is half as fast."""
        for path, module in self.model.named_modules():
            if not isinstance(module, LoraLayer):
                continue
            module.forward = functools.partial(_adapted, module)
            for slot in (*self._slots, self._training):
                for part in ("lora_A", "lora_B"):
                    parameter = getattr(module, part)[slot.name].weight
                    parameter.requires_grad_(slot is self._training)
                    slot.weights[f"base_model.model.{path}.{part}.weight"] = parameter


@contextmanager
def using(slot: str) -> Iterator[None]:
    token = _slot.set(slot)
    try:
        yield
    finally:
        _slot.reset(token)


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
