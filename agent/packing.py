"""A batch of sequences as one row of tokens.

Dimension key:
    S  tokens of a packed batch: the prefix once, then the rest of each sequence
    N  answer tokens of a batch, one sequence after the other
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and the answer that follows it, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def common_prefix(prompts_: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all begin with; the last token of a prompt never counts."""
    first, last = min(prompts_), max(prompts_)
    shortest = min(len(ids) for ids in prompts_) - 1
    return next((i for i in range(shortest) if first[i] != last[i]), shortest)


def packed(batch: Sequence[Answered]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Put a batch into one row of S tokens: the common prefix once, then the rest of each sequence,
    which sees the prefix and itself. The same numbers as a padded batch, without its waste.

    Returns:
        ids (1, S), positions (1, S), additive mask (1, 1, S, S), indexes of the answer tokens (N,).
    """
    prefix = common_prefix([item.prompt for item in batch])
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
