"""The text of the house model, read once for all tests of this folder."""

import random

import pytest

from house.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def documents(writer):
    rng = random.Random(0)
    return [writer.document(rng) for _ in range(400)]


@pytest.fixture(scope="session")
def tokenizer(documents):
    return train_tokenizer(message["content"] for document in documents for message in document)
