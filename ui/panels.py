"""What the side panel says, in words a person understands; no Gradio."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from agent.errors import AgentError
from ui.desk import Desk

if TYPE_CHECKING:
    from agent.memory.job import Progress
    from agent.memory.tables import Turn
    from agent.movie_agent import Reply
    from ui.handlers import Page

STAGES = {
    "starting": ("getting ready", 0.0),
    "questions": ("asking myself questions about what you said", 0.01),
    "teacher": ("answering them with the chat in front of me", 0.2),
    "bank": ("asking general questions", 0.3),
    "recommend": ("thinking of films", 0.35),
    "taste": ("weighing films for you", 0.37),
    "told now": ("practising to listen to the chat first", 0.4),
    "negatives": ("finding out what you did not tell", 0.42),
    "unrelated sentences": ("noting what must stay as it is", 0.45),
    "target sentences": ("preparing the lesson", 0.5),
    "training": ("learning", 0.55),
    "probing": ("testing myself", 0.9),
    "publishing": ("putting it in place", 0.99),
}
"""Stage of a consolidation, in its order → what it does, and the share of the whole that lies before
it, measured on the house model."""


@dataclass(frozen=True)
class Panel:
    """The side panel at one moment."""

    text: str
    progress: str = ""
    can_learn: bool = False
    can_retry: bool = False
    can_cancel: bool = False


def as_text(text: str) -> str:
    """Return text so that Markdown shows it as it is."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def number_of(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def cost_line(reply: "Reply", *, memory: bool, is_stopped: bool) -> str:
    """Return the quiet line under a reply."""
    who = f"generation {reply.generation}" if reply.generation else "nothing learned yet"
    cost = f"{reply.memory_tokens} memory tokens in the prompt · {reply.seconds:.1f} s"
    line = f"{who if memory else 'memory off'} · {cost}"
    if is_stopped:
        line = f"Stopped{'; what was said so far is kept' if memory else ''} · {line}"
    return "  \n".join([line, *map(as_text, reply.notices)])


def panel(desk: Desk, page: "Page") -> Panel:
    """Return the side panel: what waits, what is known, how the last learning went, what runs."""
    if not desk.is_ready:
        return Panel("**The model is being loaded…**")
    if not page.user_id:
        return Panel("The page is being opened. If this stays, reload it.")
    try:
        return _panel(desk, page)
    except AgentError as error:
        return Panel(f"**{as_text(str(error))}**")


def _panel(desk: Desk, page: "Page") -> Panel:
    agent = desk.agent
    generation, problem = agent.usable_generation(page.user_id)
    pending = agent.buffer.pending(page.user_id, live_generation=generation)
    waiting = [turn for turn in pending if not turn.is_unlearned]
    set_aside = len(pending) - len(waiting)
    progress = agent.consolidator.progress
    is_mine = progress is not None and progress.user_id == page.user_id
    reports = [] if is_mine else agent.buffer.reports(page.user_id, last=1)
    lines = [f"**{len(waiting)} waiting to be learned**"]
    if pending:
        tokens = sum(agent.model.count_tokens(turn.message + turn.reply) for turn in pending)
        lines[0] += f": {tokens} tokens of each prompt until then"
    if waiting and not is_mine and not (reports and _has_failed(reports[0], waiting[-1])):
        lines.append(f"Learned after {desk.settings.idle_seconds:.0f} s of quiet, or now.")
    if generation:
        lines.append(f"Generation {generation} of your memory answers.")
    elif not waiting:
        lines.append("Nothing is learned about you yet.")
    if set_aside:
        lines.append(f"**{set_aside} could not be learned**, twice. They stay in the prompt.")
    if problem:
        lines.append(as_text(problem))
    lines += map(describe, reports)
    if is_mine:
        bar = progress_bar(progress)
    else:
        bar = (
            "Somebody else's turn to be learned; yours comes after." if progress and waiting else ""
        )
    return Panel(
        "\n\n".join(lines),
        bar,
        can_learn=bool(waiting) and not is_mine,
        can_retry=bool(set_aside) and not is_mine,
        can_cancel=is_mine,
    )


def _has_failed(report: dict, newest: "Turn") -> bool:
    """Did learning all that waits fail?"""
    is_failure = not report["published"] and report["reason"] != "nothing to learn"
    return is_failure and datetime.fromisoformat(report["created_at"]) >= newest.created_at


def describe(report: dict) -> str:
    """Return a report as a person would tell it."""
    line = _outcome(report)
    if report.get("num_doubtful"):
        line += (
            f" {number_of(report['num_doubtful'], 'thing')} I did not understand well enough to "
            "learn: say it in other words, if it matters."
        )
    return line


def _outcome(report: dict) -> str:
    if report["published"]:
        line = (
            f"Last learned: {number_of(report['num_facts'], 'fact')} from "
            f"{number_of(report['num_turns'], 'turn')} in {report['seconds']:.0f} s. "
            f"I answer {report['recall'] or 0:.0%} of {'test questions' if report['num_probes'] else 'my own questions'} "
            "about them without the chat in front of me."
        )
        if report["abstention"] is not None:
            line += (
                f" Asked what you never told me, I say so in {report['abstention']:.0%} of cases."
            )
        return line
    if report["reason"] == "nothing to learn":
        return f"Last look: {number_of(report['num_turns'], 'turn')}, nothing to learn."
    reason = report["reason"].rstrip(".")
    return f"Not learned: {as_text(reason[:1].lower() + reason[1:])}."


def progress_bar(progress: "Progress") -> str:
    """Return a running consolidation as HTML: a bar over the whole, and a line on the stage."""
    words, before = STAGES.get(progress.stage, (progress.stage, 0.0))
    after = min((share for _, share in STAGES.values() if share > before), default=1.0)
    share = before + (after - before) * progress.done / max(progress.total, 1)
    step = f" {progress.done} of {progress.total}" if progress.total > 1 else ""
    left = f", about {progress.seconds_left:.0f} s left here" if progress.seconds_left else ""
    return (
        f'<progress max="1" value="{share:.3f}" aria-label="Learning"></progress>'
        f"<p>{words.capitalize()}{step}{left}. {progress.seconds:.0f} s so far.</p>"
    )
