"""A model cut in two: the layers below the first adapter, and all from there on.

A training asks for the same sentences again and again, and below the first adapter nothing ever
changes: what comes out there is computed once for each sentence. That saves a quarter of a step.
"""

import torch
from torch import Tensor, nn

from agent.slots import BASE, using


def halves_of(model: nn.Module, first: int) -> tuple[nn.Module, nn.Module] | None:
    """Return the layers before `first` as a model that ends with their hidden states, and the model
    that takes these as `inputs_embeds` and goes on. Both share every weight with `model`.

    None if they do not give the same together as the whole, which is tried on a few tokens: some
    architectures do more to an embedding than to hand it to the first layer.
    """
    inner = model.base_model
    if not isinstance(getattr(inner, "layers", None), nn.ModuleList):
        return None
    lower, rest, upper = _shared(inner), _shared(inner), _shared(model)
    lower.layers, lower.norm = inner.layers[:first], nn.Identity()
    rest.layers = inner.layers[first:]
    setattr(upper, model.base_model_prefix, rest)
    ids = torch.arange(8, device=model.device)[None] % model.config.get_text_config().vocab_size
    with using(BASE), torch.no_grad():
        whole = model(input_ids=ids, use_cache=False).logits
        try:
            states = lower(input_ids=ids, use_cache=False).last_hidden_state
            together = upper(inputs_embeds=states, use_cache=False).logits
        except Exception:  # noqa: BLE001 - a model that cannot be cut is computed whole
            return None
    return (lower, upper) if torch.allclose(whole, together, atol=1e-4) else None


def _shared(module: nn.Module) -> nn.Module:
    """Return a module of the same parts, which can be exchanged without changing the first one's."""
    twin = object.__new__(type(module))
    twin.__dict__ = module.__dict__ | {"_modules": dict(module._modules)}
    return twin


def packed_states(states: list[Tensor], prefix: int) -> Tensor:
    """Put the states of sequences into one row (1, S, width), as `packing.packed` does with ids."""
    return torch.cat([states[0][:prefix], *(state[prefix:] for state in states)])[None]


def unpacked_states(row: Tensor, sizes: list[int], prefix: int) -> list[Tensor]:
    """Return the states of each sequence, (T, width), from a packed row (S, width)."""
    parts = row[prefix:].split([size - prefix for size in sizes])
    return [torch.cat([row[:prefix], part]) for part in parts]
