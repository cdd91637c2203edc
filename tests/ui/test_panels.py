"""The memory panel: what waits, what was learned and how well, what could not be, what was erased."""

from html.parser import HTMLParser

import pytest

from agent.memory.job import Progress
from tests.talking import FACT, until
from tests.ui.talking import ADA, BOB, kept, learn, report, say, tell
from ui import handlers, panels
from ui.handlers import Page


def set_aside(agent, turn):
    """Reject a turn as often as a consolidation may."""
    for _ in range(2):
        fence = agent.buffer.leases.take("ada", "test", seconds=60)
        failed = report(
            published=False, reason="It forgot too much.", created_at="2025-01-01T00:00:00+00:00"
        )
        agent.buffer.reject("ada", fence, turn_ids=[turn.id], report=failed)  # fmt: skip
        agent.buffer.leases.release("ada", fence)


def paragraphs(panel):
    return panel.text.split("\n\n")


# -- what waits, what is learned ------------------------------------------------------------


def test_the_panel_counts_what_waits_and_what_it_costs(desk, agent):
    assert panels.panel(desk, ADA) == panels.Panel(
        "**0 waiting to be learned**\n\nNothing is learned about you yet."
    )
    turns = [tell(agent), tell(agent, "I love westerns.")]
    tokens = sum(agent.model.count_tokens(turn.message + turn.reply) for turn in turns)
    assert tokens > 10
    now = panels.panel(desk, ADA)
    assert paragraphs(now) == [
        f"**2 waiting to be learned**: {tokens} tokens of each prompt until then",
        "Learned after 90 s of quiet, or now.",
    ]
    assert (now.can_learn, now.can_retry, now.can_cancel) == (True, False, False)
    assert "0 waiting" in panels.panel(desk, BOB).text


def test_the_panel_tells_what_was_learned_and_how_well(desk, agent):
    learn(agent, [tell(agent)], num_turns=1, num_facts=3, seconds=12.4)
    now = panels.panel(desk, ADA)
    assert paragraphs(now) == [
        "**0 waiting to be learned**",
        "Generation 1 of your memory answers.",
        "Last learned: 3 facts from 1 turn in 12 s. I answer 90% of test questions about them without the "
        "chat in front of me. Asked what you never told me, I say so in 80% of cases.",
    ]
    assert not now.can_learn


def test_the_panel_says_what_was_not_understood(desk, agent):
    learn(agent, [tell(agent)], num_turns=1, num_facts=3, num_doubtful=1)
    assert "1 thing I did not understand well enough" in paragraphs(panels.panel(desk, ADA))[-1]


@pytest.mark.parametrize("reason", ["nothing to learn", "It forgot too much."])
def test_the_panel_says_what_was_not_understood_when_nothing_was_learned_too(reason):
    said = panels.describe(report(published=False, reason=reason, num_doubtful=2))
    assert said.endswith(". 2 things I did not understand well enough to learn: say it in other words, if it matters.")  # fmt: skip


def test_the_panel_is_silent_about_what_was_not_measured(desk, agent):
    learn(agent, [tell(agent)], num_turns=1, num_facts=3, abstention=None)
    assert paragraphs(panels.panel(desk, ADA))[-1].endswith("in front of me.")


def test_the_panel_counts_again_what_a_lost_generation_knew(desk, agent):
    learn(agent, [tell(agent)])
    (agent.store.path("ada", 1) / "adapter_model.safetensors").write_bytes(b"not weights")
    now = panels.panel(desk, ADA)
    assert now.text.startswith("**1 waiting to be learned**: ")
    assert "Generation 1 of your memory" not in now.text
    assert "damaged" in now.text
    assert now.can_learn


def test_asked_for_a_consolidation_happens_and_its_outcome_is_told(desk, agent):
    tell(agent)
    handlers.consolidate(desk, ADA)
    until(lambda: agent.buffer.reports("ada"))
    now = panels.panel(desk, ADA)
    # The tiny model finds nothing to learn in anything.
    assert paragraphs(now)[0] == "**0 waiting to be learned**"
    assert paragraphs(now)[-1] == "Last look: 1 turn, nothing to learn."
    assert not now.can_learn


def test_while_it_learns_the_panel_shows_a_bar_to_whom_it_learns_about_and_a_queue_to_others(
    desk, agent
):
    tell(agent)
    tell(agent, user_id="bob")
    seen = []
    agent.consolidator.run(
        "ada",
        on_progress=lambda progress: seen.append(
            (panels.panel(desk, ADA), panels.panel(desk, BOB))
        ),
    )
    assert len(seen) > 1
    for hers, his in seen:
        assert "<progress" in hers.progress
        assert (hers.can_learn, hers.can_cancel) == (False, True)
        assert his.progress == "Somebody else's turn to be learned; yours comes after."
        assert (his.can_learn, his.can_cancel) == (True, False)
    assert "Learned after" not in seen[0][0].text
    assert panels.panel(desk, ADA).progress == ""


def test_a_cancelled_consolidation_keeps_the_turns_and_does_not_promise_to_go_on_by_itself(
    desk, agent, clock
):
    tell(agent)
    agent.consolidator.run("ada", on_progress=lambda progress: handlers.cancel(desk, ADA))
    now = panels.panel(desk, ADA)
    text = now.text.replace("\\", "")
    assert text.startswith("**1 waiting to be learned**")
    assert "Not learned: it was cancelled: the old generation stays, the turns wait." in text
    assert "of quiet" not in text
    assert now.can_learn
    clock.forward(1)
    tell(agent, "I love westerns.")
    assert "Learned after 90 s of quiet, or now." in panels.panel(desk, ADA).text


def test_nobody_cancels_what_is_learned_about_somebody_else(desk, agent):
    tell(agent)
    reports = agent.consolidator.run("ada", on_progress=lambda _: handlers.cancel(desk, BOB))
    assert [report.reason for report in reports] == ["nothing to learn"]


def test_what_could_not_be_learned_is_set_aside_and_can_be_tried_again(desk, agent):
    turn = tell(agent)
    set_aside(agent, turn)
    now = panels.panel(desk, ADA)
    assert paragraphs(now)[0].startswith("**0 waiting to be learned**: ")
    assert "**1 could not be learned**, twice." in now.text
    assert "Not learned: it forgot too much" in now.text
    assert (now.can_learn, now.can_retry) == (False, True)
    handlers.consolidate(desk, ADA)
    until(lambda: "Last look: 1 turn" in panels.panel(desk, ADA).text)
    assert not panels.panel(desk, ADA).can_retry


class _Bars(HTMLParser):
    def __init__(self):
        super().__init__()
        self.values = []

    def handle_starttag(self, tag, attributes):
        if tag == "progress":
            self.values.append(float(dict(attributes)["value"]))


def test_the_bar_never_goes_back_from_stage_to_stage():
    bars = _Bars()
    for stage in panels.STAGES:
        for done in (0, 1, 2):
            bars.feed(panels.progress_bar(Progress("ada", stage, done, 2, None, 1.0, None)))
    assert len(bars.values) == 3 * len(panels.STAGES)
    assert bars.values == sorted(bars.values)
    assert (bars.values[0], bars.values[-1]) == (0.0, 1.0)


# -- forgetting ------------------------------------------------------------


def test_forgetting_erases_one_user_counts_what_there_was_and_opens_a_new_chat(desk, agent):
    page = Page("ada", "A*d*a", "a1")
    learn(agent, [tell(agent)])
    say(desk, page=page)
    say(desk, page=BOB)
    fresh, history, line = handlers.forget(desk, page)
    assert line == r"Erased 2 turns and 1 generation of A\*d\*a."
    assert history == []
    assert fresh.session_id != page.session_id
    assert agent.buffer.user("ada") is None
    assert agent.store.generations("ada") == []
    assert kept(agent, "bob") == [(FACT, False)]
