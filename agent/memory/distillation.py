"""Distil a context into an adapter.

The student has to answer *without* the context the way the teacher answers *with* it
(SELF-PARAM, arXiv:2410.00487). The base never changes, so the teacher is asked once per target
sentence and its answer distribution is kept: the K most probable tokens and, as one more
outcome, all others together.

Dimension key:
    N  answer tokens of a batch, one target sentence after the other
    K  kept tokens per position
    V  vocabulary
"""

import logging
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agent.errors import ConsolidationError
from agent.model import LanguageModel
from agent.packing import Answered
from agent.slots import BASE, TRAINING

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """What the teacher says, token by token, of one answer."""

    top_ids: Tensor
    """(N, K) int64, the most probable tokens at each position."""
    top_logprobs: Tensor
    """(N, K) float32, in nats."""
    tail_logprobs: Tensor
    """(N,) float32, log of what all other tokens have together."""


@dataclass(frozen=True, slots=True)
class TargetSentence:
    """A question as the student sees it, the answer, and the teacher's opinion of the answer."""

    student: Answered
    teacher: TeacherAnswer


@dataclass(frozen=True, slots=True)
class Trained:
    """What one training cost."""

    num_steps: int
    trained_tokens: int
    """Non-padding tokens through the student."""
    loss: float
    """Mean KL of the last steps, in nats per answer token."""
    losses: tuple[float, ...]


def answer_kl(teacher: TeacherAnswer, student_logits: Tensor) -> Tensor:
    """Return the mean KL(teacher ‖ student) per answer token, in nats.

        L = 1/N · Σ_n [ Σ_k p_nk · (log p_nk − log q_nk)  +  r_n · (log r_n − log t_n) ]

    p is the teacher (context and question in its prompt) and q the student (question only) on the
    K tokens kept of the teacher; r and t are what p and q leave to all other tokens. This is the
    objective of SELF-PARAM, averaged over tokens instead of summed over sentences, so that the
    learning rate does not depend on how long answers are, on a coarser set of outcomes: the tail
    counts as one. It is therefore at most the full KL, equal to it for K = V, and 0 for a student
    that has learned everything. Without the tail the student would be free to put any mass there.

    Args:
        teacher: Position n is the prediction of answer token n; treated as a constant.
        student_logits: (N, V), any float dtype, aligned the same way.

    Returns:
        Scalar float32, at least 0.

    Raises:
        ValueError: If the numbers of positions disagree, or there is none. An empty batch means
            that the target sentences were lost on the way here; a loss of 0 would hide that.
    """
    if len(teacher.top_ids) != len(student_logits):
        raise ValueError(
            f"Teacher and student must have the same number of answer tokens, "
            f"got {len(teacher.top_ids)} and {len(student_logits)}."
        )
    if len(student_logits) == 0:
        raise ValueError("This batch has no answer token to learn from.")
    # float32 before the softmax: bfloat16 has 8 bits of precision, and the differences between p
    # and q are what we train on.
    student_logprobs = student_logits.float().log_softmax(dim=-1)  # (N, V)
    top = student_logprobs.gather(1, teacher.top_ids)  # (N, K)
    per_token = (teacher.top_logprobs.exp() * (teacher.top_logprobs - top)).sum(dim=1)  # (N,)
    tail = torch.log1p(-top.exp().sum(dim=1).clamp(max=1 - 1e-6))  # (N,)
    per_token = per_token + teacher.tail_logprobs.exp() * (teacher.tail_logprobs - tail)
    return per_token.mean()


def keep_top(logits: Tensor, k: int) -> TeacherAnswer:
    """Return the K most probable tokens of each row of (N, V) logits, and the tail."""
    logprobs = logits.float().log_softmax(dim=-1)
    top, ids = logprobs.topk(min(k, logprobs.shape[1]), dim=-1)
    rest = (1 - top.exp().sum(dim=1)).clamp(min=1e-8)
    return TeacherAnswer(ids, top, rest.log())


def ask_teacher(
    model: LanguageModel, batch: Sequence[Answered], *, k: int, slot: str = BASE
) -> list[TeacherAnswer]:
    """Return the teacher's opinion of each answer; the prompts hold the context."""
    with torch.inference_mode():
        kept = keep_top(model.answer_logits(batch, slot=slot), k)
    sizes = [len(item.answer) for item in batch]
    # Cloned outside: tensors of inference mode cannot take part in a loss.
    parts = zip(
        *(
            getattr(kept, name).clone().split(sizes)
            for name in ("top_ids", "top_logprobs", "tail_logprobs")
        ),
        strict=True,
    )
    return [TeacherAnswer(*part) for part in parts]


def mean_kl(model: LanguageModel, sentences: Sequence[TargetSentence], *, slot: str) -> float:
    """Return the mean KL(teacher ‖ slot) of target sentences, in nats per answer token."""
    with torch.inference_mode():
        logits = model.answer_logits([sentence.student for sentence in sentences], slot=slot)
        return answer_kl(merged(sentence.teacher for sentence in sentences), logits).item()


def merged(answers: Iterable[TeacherAnswer]) -> TeacherAnswer:
    """Return the answers of a batch as one, in order."""
    answers = list(answers)
    return TeacherAnswer(
        torch.cat([answer.top_ids for answer in answers]),
        torch.cat([answer.top_logprobs for answer in answers]),
        torch.cat([answer.tail_logprobs for answer in answers]),
    )


def train_adapter(
    model: LanguageModel,
    draw: Callable[[random.Random], list[TargetSentence]],
    *,
    max_steps: int,
    learning_rate: float,
    seed: int,
    is_learned: Callable[[int], bool] = lambda step: False,
    checkpoint: Callable[[str, int, int, float], None] = lambda stage, step, total, loss: None,
) -> Trained:
    """Train what is in the training slot, and leave the result there.

    AdamW with a short warm-up and a cosine to a tenth of the peak rate.

    Args:
        draw: Returns the target sentences of the next batch.
        max_steps: Steps of the cosine; training may stop before.
        learning_rate: Peak rate of AdamW.
        is_learned: Asked after every step; True ends the training early. It judges by the *stop*
            wordings, never by the probes.
        checkpoint: Called before each step with stage, step, steps in all and last loss; it may
            block (replies go first) or raise (cancel).

    Raises:
        ConsolidationError: If the loss is not a number.
    """
    rng = random.Random(seed)
    parameters = model.slots.training_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
    losses: list[float] = []
    trained_tokens = 0
    known: dict[int, tuple[TargetSentence, Tensor]] = {}
    for step in range(max_steps):
        checkpoint("training", step, max_steps, losses[-1] if losses else math.nan)
        batch = draw(rng)
        students = [sentence.student for sentence in batch]
        loss = answer_kl(
            merged(sentence.teacher for sentence in batch),
            model.answer_logits(students, slot=TRAINING, lower=_lower_states(model, batch, known)),
        )
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        value = loss.item()
        if not math.isfinite(value) or not torch.isfinite(norm):
            raise ConsolidationError(
                f"The loss of step {step} is {value}: the training diverged, so nothing was published. "
                f"Lower learning_rate (now {learning_rate})."
            )
        warm_up = min(1.0, (step + 1) / 5)
        cosine = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / max_steps))
        optimizer.param_groups[0]["lr"] = learning_rate * warm_up * cosine
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(value)
        trained_tokens += sum(len(item.prompt) + len(item.answer) for item in students)
        if is_learned(step):
            break
    last = losses[-10:]
    return Trained(len(losses), trained_tokens, sum(last) / len(last), tuple(losses))


def _lower_states(
    model: LanguageModel,
    batch: Sequence[TargetSentence],
    known: dict[int, tuple[TargetSentence, Tensor]],
) -> list[Tensor] | None:
    """Return what the layers below the adapter make of each sentence, computed at its first draw and
    kept in `known`; None if the model cannot be cut there."""
    new = [sentence for sentence in batch if id(sentence) not in known]
    if new:
        states = model.lower_states([sentence.student for sentence in new])
        if states is None:
            return None
        known |= {
            id(sentence): (sentence, state) for sentence, state in zip(new, states, strict=True)
        }
    return [known[id(sentence)][1] for sentence in batch]
