"""How tests talk to an agent, teach it without training, and read what it kept."""

import sqlite3
import threading
from contextlib import closing

import torch

from agent import prompts

FACT = "I live in Turin."
QUESTION = "Where do I live?"


def say(agent, message=FACT, *, user_id="ada", session_id="s1", memory="on"):
    reply = agent.reply(user_id, session_id, message, memory=memory)
    "".join(reply)
    return reply


def tell(agent, message=FACT, *, user_id="ada", session_id="s1"):
    """Write a turn as if it had been answered before."""
    return agent.buffer.append(user_id, session_id, message=message, reply="Noted!")


def random_tensors(agent, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=generator) * 0.3
        for name, tensor in agent.model.slots.trained_tensors().items()
    }


def learn(agent, turns=(), *, user_id="ada", seed=0, base_hash=None, pairs=(), report=None):
    """Publish a generation with random weights, as one that knows these turns."""
    agent.buffer.ensure_user(user_id)
    number = agent.store.next_generation(user_id)
    path = agent.store.publish(
        user_id, number, random_tensors(agent, seed), config={},
        card={"base_hash": base_hash or agent.model.base_hash},
    )  # fmt: skip
    fence = agent.buffer.leases.take(user_id, "test", seconds=60)
    assert agent.buffer.publish(
        user_id, fence, turn_ids=[turn.id for turn in turns], generation=number,
        new_pairs=pairs, report=report or {},
    )  # fmt: skip
    agent.buffer.leases.release(user_id, fence)
    return path


def on_disk(agent):
    """The turns as another program reads them from the file."""
    with closing(sqlite3.connect(agent.buffer.path)) as connection:
        return connection.execute(
            "SELECT message, reply, is_partial FROM turns ORDER BY id"
        ).fetchall()


def tokens_of(agent, message, *, session=(), earlier=()):
    """The length of the prompt that should be built from these turns."""
    told = [(turn.message, turn.reply) for turn in earlier]
    transcript = prompts.transcript([told]) if told else ""
    chat = [(turn.message, turn.reply) for turn in session]
    return len(agent.model.encode(prompts.chat(chat, message, earlier=transcript)))


def base_text(agent, message):
    return agent.probe("nobody", message, memory="off").text


def until(condition):
    """Wait for what the consolidator does on its thread."""
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen within 30 s")
