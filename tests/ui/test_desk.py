"""A page before its model is there: what is said is answered after, what cannot load is named."""

import re
import threading

import pytest

from agent.errors import ModelError
from tests.talking import FACT
from tests.ui.talking import ADA, kept, say
from ui import handlers, panels
from ui.desk import Desk


class Closed:
    """A desk whose agent is not there before `open`."""

    def __init__(self, agent):
        self._door = threading.Event()
        self.open = self._door.set
        self.desk = Desk(agent.settings, None, open_agent=lambda *_: self._door.wait(10) and agent)


@pytest.fixture
def closed(agent):
    closed = Closed(agent)
    with closed.desk:
        yield closed
        closed.open()


def test_a_message_said_while_the_model_is_being_loaded_is_answered_after(closed, agent):
    updates = handlers.reply(closed.desk, ADA, FACT, memory=True)
    assert next(updates)[1] == "The model is being loaded, a few seconds."
    assert panels.panel(closed.desk, ADA) == panels.Panel("**The model is being loaded…**")
    closed.open()
    history, line, _ = list(updates)[-1]
    assert history[1]["content"] == agent.buffer.turns("ada")[0].reply
    assert "memory tokens" in line


def test_a_chat_left_while_the_model_is_being_loaded_is_neither_answered_nor_shown(closed, agent):
    updates = handlers.reply(closed.desk, ADA, FACT, memory=True)
    next(updates)
    handlers.new_chat(closed.desk, ADA)
    closed.open()
    assert list(updates) == []
    assert kept(agent) == []


def refuse(*_):
    raise ModelError("No model in ./x: config.json is missing. Pass *another* folder.")


def test_a_model_that_cannot_be_loaded_is_named_in_the_log_the_panel_and_below_the_chat(
    agent, caplog
):
    with Desk(agent.settings, None, open_agent=refuse) as desk:
        history, line, box = say(desk)
        assert (history, box) == ([], FACT)
        panel = panels.panel(desk, ADA)
        with pytest.raises(ModelError):
            handlers.choose_name(desk, ADA, "Bob")
    assert "Pass *another* folder" in re.sub(r"\\(.)", r"\1", line)
    assert r"Pass \*another\* folder" in panel.text
    assert not panel.can_learn
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "No model in ./x: config.json is missing." in record.getMessage()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_while_loading_ends_the_waiting_too(agent):
    with Desk(agent.settings, None, open_agent=lambda *_: 1 / 0) as desk:
        assert "the log says why" in say(desk)[1]
