"""answer_kl against values worked out by hand, and training that ends where it must."""

import math

import pytest
import torch

from agent import prompts
from agent.errors import ConsolidationError
from agent.memory.distillation import (
    TargetSentence,
    TeacherAnswer,
    answer_kl,
    ask_teacher,
    keep_top,
    merged,
    train_adapter,
)
from agent.packing import Answered
from agent.slots import BASE, TRAINING


def logits_of(*probabilities: float) -> torch.Tensor:
    """(1, V) logits whose softmax is `probabilities`."""
    return torch.tensor(probabilities).log().reshape(1, -1)


def test_equals_the_value_worked_out_by_hand():
    # ½·ln(½ / ¼) + ½·ln(½ / ¾) = ½·ln(4/3)
    loss = answer_kl(keep_top(logits_of(0.5, 0.5), 2), logits_of(0.25, 0.75))
    assert loss.item() == pytest.approx(0.5 * math.log(4 / 3), abs=1e-6)


def test_is_the_forward_kl_and_not_the_reverse():
    teacher, student = logits_of(0.9, 0.1), logits_of(0.5, 0.5)
    forward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert answer_kl(keep_top(teacher, 2), student).item() == pytest.approx(forward, abs=1e-6)
    assert answer_kl(keep_top(student, 2), teacher).item() != pytest.approx(forward, rel=1e-2)


def test_the_tail_counts_as_one_outcome():
    # Teacher keeps 0.6; the other 0.4 are one outcome, of which the student has 0.5:
    # 0.6·ln(0.6/0.5) + 0.4·ln(0.4/0.5)
    loss = answer_kl(keep_top(logits_of(0.6, 0.3, 0.1), 1), logits_of(0.5, 0.1, 0.4))
    assert loss.item() == pytest.approx(
        0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.5), abs=1e-6
    )


def test_a_student_that_puts_its_mass_on_the_tail_is_punished():
    teacher = keep_top(logits_of(0.9, 0.05, 0.05), 1)
    good, bad = logits_of(0.9, 0.1, 1e-9), logits_of(0.3, 0.7, 1e-9)
    assert answer_kl(teacher, bad) > answer_kl(teacher, good) + 0.5


def test_is_zero_for_a_student_that_has_learned_everything():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    for k in (1, 3, 7):
        assert answer_kl(keep_top(logits, k), logits.clone()).item() == pytest.approx(0.0, abs=1e-5)


def test_never_exceeds_the_full_kl_and_reaches_it_with_all_tokens():
    generator = torch.Generator().manual_seed(1)
    teacher, student = (
        torch.randn(20, 11, generator=generator),
        torch.randn(20, 11, generator=generator),
    )
    p, q = teacher.log_softmax(-1), student.log_softmax(-1)
    full = (p.exp() * (p - q)).sum(-1).mean().item()
    losses = [answer_kl(keep_top(teacher, k), student).item() for k in (1, 4, 11)]
    assert losses[0] < losses[1] < losses[2]
    assert losses[2] == pytest.approx(full, abs=1e-5)


def test_is_a_mean_over_tokens_so_longer_answers_do_not_weigh_more():
    teacher, student = logits_of(0.5, 0.5), logits_of(0.25, 0.75)
    three = answer_kl(keep_top(teacher.repeat(3, 1), 2), student.repeat(3, 1))
    assert three.item() == pytest.approx(answer_kl(keep_top(teacher, 2), student).item())


def test_the_gradient_is_the_student_minus_the_teacher():
    student = logits_of(0.25, 0.75).requires_grad_()
    answer_kl(keep_top(logits_of(0.5, 0.5), 2), student).backward()
    torch.testing.assert_close(student.grad, torch.tensor([[-0.25, 0.25]]), atol=1e-5, rtol=1e-5)


def test_refuses_a_batch_without_answers_and_answers_of_another_length():
    with pytest.raises(ValueError, match="no answer token"):
        answer_kl(keep_top(torch.zeros(0, 3), 2), torch.zeros(0, 3))
    with pytest.raises(ValueError, match="same number of answer tokens"):
        answer_kl(keep_top(torch.zeros(2, 3), 2), torch.zeros(3, 3))


@pytest.fixture
def target(tiny_model) -> TargetSentence:
    """A question whose teacher has a transcript in its prompt, and whose student has not."""
    question, answer = "Where do I live?", tuple(tiny_model.encode_answer("You live in Turin."))
    earlier = prompts.transcript([[("I live in Turin.", "Noted.")]])
    with_context = tuple(tiny_model.encode(prompts.chat([], question, earlier=earlier)))
    (teacher,) = ask_teacher(tiny_model, [Answered(with_context, answer)], k=16)
    return TargetSentence(
        Answered(tuple(tiny_model.encode(prompts.chat([], question))), answer), teacher
    )


def test_teacher_and_student_are_aligned_on_the_answer(tiny_model, target):
    """Position n predicts answer token n: with teacher and student the same prompt, KL is 0."""
    (same,) = ask_teacher(tiny_model, [target.student], k=16)
    with torch.inference_mode():
        logits = tiny_model.answer_logits([target.student], slot=BASE)
    assert len(logits) == len(target.student.answer)
    assert answer_kl(same, logits).item() == pytest.approx(0.0, abs=1e-5)
    whole = [*target.student.prompt, *target.student.answer]
    with torch.inference_mode():
        first = tiny_model.answer_logits([Answered(tuple(whole[:-1]), (whole[-1],))], slot=BASE)
    torch.testing.assert_close(first[0], logits[-1], atol=1e-4, rtol=1e-4)


def test_training_brings_the_student_to_the_teacher(tiny_model, target):
    tiny_model.slots.start_training(None, seed=0)
    trained = train_adapter(
        tiny_model, lambda rng: [target] * 2, max_steps=40, learning_rate=1e-2, seed=0
    )
    assert trained.losses[0] > 0.05
    assert trained.loss < 0.25 * trained.losses[0]
    assert trained.trained_tokens == 40 * 2 * (
        len(target.student.prompt) + len(target.student.answer)
    )


def test_training_touches_nothing_but_the_training_slot(tiny_model, target):
    before = {
        name: p.clone()
        for name, p in tiny_model._model.named_parameters()
        if ".candidate." not in name
    }
    tiny_model.slots.start_training(None, seed=0)
    train_adapter(tiny_model, lambda rng: [target], max_steps=3, learning_rate=1e-2, seed=0)
    for name, parameter in tiny_model._model.named_parameters():
        if ".candidate." not in name:
            torch.testing.assert_close(parameter, before[name], rtol=0, atol=0)


def test_training_ends_when_the_stop_wordings_are_learned(tiny_model, target):
    tiny_model.slots.start_training(None, seed=0)
    trained = train_adapter(
        tiny_model,
        lambda rng: [target],
        max_steps=30,
        learning_rate=1e-3,
        seed=0,
        is_learned=lambda step: step == 6,
    )
    assert trained.num_steps == 7


def test_a_loss_that_is_no_number_ends_the_training_with_a_reason(tiny_model, target):
    broken = TargetSentence(
        target.student,
        TeacherAnswer(
            target.teacher.top_ids,
            target.teacher.top_logprobs * math.nan,
            target.teacher.tail_logprobs,
        ),
    )
    tiny_model.slots.start_training(None, seed=0)
    with pytest.raises(ConsolidationError, match="diverged"):
        train_adapter(tiny_model, lambda rng: [broken], max_steps=3, learning_rate=1e-3, seed=0)


def test_the_slot_starts_without_effect(tiny_model, target):
    tiny_model.slots.start_training(None, seed=0)
    with torch.inference_mode():
        base = tiny_model.answer_logits([target.student], slot=BASE)
        fresh = tiny_model.answer_logits([target.student], slot=TRAINING)
    torch.testing.assert_close(base, fresh)


def test_answers_of_a_batch_are_put_in_order(tiny_model, target):
    both = merged([target.teacher, target.teacher])
    assert both.top_ids.shape == (2 * len(target.student.answer), 16)
