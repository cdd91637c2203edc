"""The layers below the adapters, computed once, give the same numbers and the same gradients."""

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)

from agent import prompts
from agent.halves import halves_of
from agent.packing import Answered
from agent.slots import BASE, TRAINING
from tests.test_model import random_adapter

SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip


class Louder(LlamaModel):
    """Does more to an embedding than to hand it to the first layer."""

    def forward(self, input_ids=None, inputs_embeds=None, **options):
        embeds = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        return super().forward(inputs_embeds=embeds * 2, **options)


@pytest.fixture
def batch(tiny_model):
    asked = [
        ("Where do I live?", "You live in Turin."),
        ("My name?", "Ada."),
        ("Hm", "Yes, films."),
    ]
    return [
        Answered(
            tuple(tiny_model.encode(prompts.chat([], question))),
            tuple(tiny_model.encode_answer(answer)),
        )
        for question, answer in asked
    ]


def test_going_on_from_the_lower_states_gives_the_same_logits_and_gradients(tiny_model, batch):
    lower = tiny_model.lower_states([batch[2], batch[0]]) + tiny_model.lower_states([batch[1]])
    lower = [lower[1], lower[2], lower[0]]
    try:
        found = []
        for known in (None, lower):
            tiny_model.slots.end_training()  # no gradient of another test, nor of the round before
            tiny_model.slots.start_training(random_adapter(tiny_model, 5), seed=0)
            logits = tiny_model.answer_logits(batch, slot=TRAINING, lower=known)
            logits.logsumexp(-1).sum().backward()
            parameters = tiny_model.slots.training_parameters()
            found.append([logits.detach(), *(parameter.grad.clone() for parameter in parameters)])
        for whole, cut in zip(*found, strict=True):
            torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-4)
        assert all(grad.abs().sum() > 0 for grad in found[0][1:])
        assert not torch.allclose(
            found[0][0], tiny_model.answer_logits(batch, slot=BASE), atol=1e-3
        )
    finally:
        tiny_model.slots.end_training()


def test_a_model_is_cut_only_where_that_changes_nothing():
    torch.manual_seed(0)
    assert halves_of(LlamaForCausalLM(LlamaConfig(**SIZES)), 2) is not None
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_layer=4, n_head=2))
    assert halves_of(gpt2, 2) is None  # it keeps its layers under another name
    louder = LlamaForCausalLM(LlamaConfig(**SIZES))
    louder.model = Louder(LlamaConfig(**SIZES))
    assert halves_of(louder, 2) is None
