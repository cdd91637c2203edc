"""A desk with a real agent on the tiny model behind it."""

import pytest

from ui.desk import Desk


@pytest.fixture
def agent(make_agent, tiny_model):
    tiny_model.slots.drop("")  # the slots of other tests' users
    yield make_agent(
        tiny_model, max_reply_tokens=40, question_rounds=1, use_question_bank=False, idle_seconds=90
    )
    tiny_model.slots.drop("")


@pytest.fixture
def desk(agent):
    with Desk(agent.settings, None, open_agent=lambda settings, lock: agent) as desk:
        assert desk.agent is agent
        yield desk
