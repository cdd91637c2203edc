"""Real parts, only small: a tiny model made here, a real SQLite file, a clock to move by hand."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from agent.memory.adapters import AdapterStore
from agent.memory.buffer import ExperienceBuffer
from agent.model import LanguageModel
from agent.movie_agent import MovieAgent
from agent.settings import Settings
from house.__main__ import new_writer
from house.tokenizer import train_tokenizer

TINY_TEXT = [
    "You are Imprint, a film companion. Earlier chats with this user: User: You: ---",
    "I live in Turin. Where do I live? You live in Turin. You haven't told me that yet.",
    "Write questions I could ask later about what I said here: Kind: direct. One a line: question | short answer.",
    "My name is Ada and I love westerns. What is my name? Your name is Ada.",
]


@pytest.fixture(scope="session")
def writer():
    """Who writes the text of the house model; reading its wordings takes seconds."""
    return new_writer()


@pytest.fixture(scope="session")
def final_writer():
    """Who writes what the experiments tell and ask: wordings, names and values that no training has."""
    return new_writer("final", novel=True)


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2025, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buffer(tmp_path: Path, clock: Clock):
    with ExperienceBuffer(tmp_path / "experience.db", now=clock) as buffer:
        yield buffer


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained model of 2 layers and H = 64, its tokenizer and chat template."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = train_tokenizer(TINY_TEXT * 50)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, head_dim=32, max_position_embeddings=2048,
            tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id, bos_token_id=None, initializer_range=0.2,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> LanguageModel:
    """The tiny model in NF4, with three adapter slots; float32, so that numbers can be compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LanguageModel.load(
            str(tiny_folder), num_slots=3, lora_rank=4, lora_alpha=8, compute=torch.float32
        )


@pytest.fixture(scope="session")
def house_model() -> LanguageModel:
    """The real thing; for slow tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LanguageModel.load("house", num_slots=3)


@pytest.fixture
def make_agent(tmp_path: Path, clock: Clock):
    """Return a function that opens an agent on a model and the test's folder, without a lock."""
    opened: list[MovieAgent] = []

    def make(model: LanguageModel, **settings: object) -> MovieAgent:
        values = Settings(data_dir=tmp_path, **settings)
        agent = MovieAgent(
            model, ExperienceBuffer(tmp_path / "experience.db", now=clock),
            AdapterStore(tmp_path / "adapters"), values, now=clock,
        )  # fmt: skip
        opened.append(agent)
        return agent

    yield make
    for agent in opened:
        agent.close()
        agent.model.slots.drop("")  # the model is shared, the generations of a test are not


@pytest.fixture
def agent(make_agent, tiny_model):
    tiny_model.slots.drop("")  # the slots of other tests' users
    yield make_agent(tiny_model, max_reply_tokens=8, question_rounds=1)
    tiny_model.slots.drop("")
