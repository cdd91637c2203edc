"""A small sentence encoder for questions: a static embedding, trained with sentence-transformers.

Two questions of one kind of fact are a positive pair, all others of the batch are negatives.
"""

import random
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import PreTrainedTokenizerFast

from agent.memory.questions import words
from house.people import USER, Grammar

DIMENSIONS = 64


def train_encoder(
    tokenizer: PreTrainedTokenizerFast,
    grammar: Grammar,
    to: Path,
    *,
    steps: int = 2000,
    seed: int = 0,
) -> float:
    """Train the encoder and save it; return the last mean loss, in nats."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    embedding = StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=DIMENSIONS)
    model = SentenceTransformer(modules=[embedding], device="cpu")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    kinds = [kind for kind in grammar.kinds if len(grammar.kinds[kind]["asks"]) > 3]
    losses = []
    for _ in range(steps):
        chosen = rng.sample(kinds, 64)
        sides: list[list[str]] = [[], []]
        for kind in chosen:
            fact = grammar.new_fact(kind, USER, rng)
            for side in sides:
                side.append(" ".join(words(grammar.question(fact, rng))))
        left, right = (
            torch.nn.functional.normalize(model(model.tokenize(side))["sentence_embedding"], dim=-1)
            for side in sides
        )
        loss = torch.nn.functional.cross_entropy(left @ right.T * 20, torch.arange(len(chosen)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.save(str(to))
    return sum(losses[-100:]) / 100
