"""How tests talk through the page's handlers, and read what the agent behind them kept."""

from agent.memory.job import Report
from agent.memory.probe import Figures
from tests.talking import FACT
from ui import handlers
from ui.handlers import Page

ADA, BOB = Page("ada", "Ada", "a1"), Page("bob", "Bob", "b1")


def say(desk, message=FACT, *, page=ADA, memory=True):
    """Say a message and return the last update of the page."""
    return list(handlers.reply(desk, page, message, memory=memory))[-1]


def begin(desk, message=FACT, *, page=ADA):
    """Say a message and return what is still to come once the reply has begun."""
    updates = handlers.reply(desk, page, message, memory=True)
    assert [next(updates)[1], next(updates)[1]] == ["…", "…"]
    return updates


def tell(agent, message=FACT, *, user_id="ada"):
    """Write a turn as if it had been answered in an earlier chat."""
    return agent.buffer.append(user_id, "earlier", message=message, reply="Noted!")


def report(*, published=True, reason="it passed its probe", recall=0.9, abstention=0.8, **values):
    """Return a report as the buffer keeps it; its numbers are made up."""
    numbers = dict.fromkeys(Figures.__dataclass_fields__, 0)
    figures = Figures(**(numbers | {"recall": recall, "abstention": abstention, "num_probes": 10}))
    values = {"num_turns": 1} | values
    return Report("ada", None, published, reason, figures=figures, **values).as_dict()


def learn(agent, turns, **values):
    """Publish a generation that does nothing, as one that knows these turns."""
    agent.model.slots.start_training(None, seed=0)
    number = agent.store.next_generation("ada")
    agent.store.publish(
        "ada", number, agent.model.slots.trained_tensors(), config={},
        card={"base_hash": agent.model.base_hash},
    )  # fmt: skip
    fence = agent.buffer.leases.take("ada", "test", seconds=60)
    assert agent.buffer.publish(
        "ada", fence, turn_ids=[turn.id for turn in turns], generation=number, report=report(**values)
    )  # fmt: skip
    agent.buffer.leases.release("ada", fence)


def kept(agent, user_id="ada"):
    return [(turn.message, turn.is_partial) for turn in agent.buffer.turns(user_id)]
