"""What the side panel says, in words a person understands; no Gradio."""

from typing import TYPE_CHECKING

from ui.desk import Desk

if TYPE_CHECKING:
    from agent.memory.job import Progress
    from agent.movie_agent import Reply
    from ui.handlers import Page

STAGES = {
    "starting": "starting",
    "questions": "asking myself questions about what you said",
    "teacher": "answering them with the chat in front of me",
    "bank": "asking general questions",
    "recommend": "thinking of films",
    "taste": "weighing films for you",
    "told now": "practising to listen to the chat first",
    "negatives": "finding out what you did not tell",
    "unrelated sentences": "noting what must stay as it is",
    "target sentences": "preparing the lesson",
    "training": "learning",
    "probing": "testing myself",
    "publishing": "putting it in place",
}


def cost_line(reply: "Reply") -> str:
    """Return the quiet line under a reply."""
    who = f"generation {reply.generation}" if reply.generation else "no memory yet"
    line = f"{who} · {reply.memory_tokens} memory tokens in the prompt · {reply.seconds:.1f} s"
    return "  \n".join([line, *reply.notices])


def panel(desk: Desk, page: "Page") -> str:
    """Return the side panel as Markdown: what waits, what is known, how the last learning went."""
    if not desk.is_ready:
        return "**The model is being loaded…**"
    agent = desk.agent
    user = agent.buffer.user(page.user_id)
    pending = agent.buffer.pending(page.user_id)
    waiting = [turn for turn in pending if not turn.is_unlearned]
    set_aside = [turn for turn in pending if turn.is_unlearned]
    generation = user.live_generation if user else 0
    lines = [f"**{len(waiting)} waiting to be learned**, 0 after"]
    lines.append(
        f"Generation {generation} of your memory answers."
        if generation
        else "Nothing is learned about you yet."
    )
    if set_aside:
        lines.append(f"{len(set_aside)} could not be learned; *Consolidate now* tries again.")
    _, problem = agent._live(page.user_id)
    if problem:
        lines.append(problem)
    if reports := agent.buffer.reports(page.user_id, last=1):
        lines.append(describe(reports[0]))
    return "\n\n".join(lines)


def describe(report: dict) -> str:
    """Return a report as a person would tell it."""
    if report["published"]:
        recall, agreement = report["recall"] or 0, report["abstention"]
        line = (
            f"Last learned: {report['num_facts']} facts from {report['num_turns']} turns in {report['seconds']:.0f} s. "
            f"I can answer {recall:.0%} of test questions about them without looking"
        )
        return line + (
            f", and say so in {agreement:.0%} of cases when you never told me."
            if agreement is not None
            else "."
        )
    if report["reason"] == "nothing to learn":
        return f"Last look: {report['num_turns']} turns, nothing to learn."
    return f"Not learned: {report['reason']}."


def progress_line(progress: "Progress | None", user_id: str) -> str:
    """Return the running consolidation of this user in a line, empty if none runs."""
    if progress is None or progress.user_id != user_id:
        return ""
    share = f" {progress.done} of {progress.total}" if progress.total > 1 else ""
    left = (
        f", about {progress.seconds_left:.0f} s left in this step" if progress.seconds_left else ""
    )
    loss = f", {progress.loss:.3f} nats to go" if progress.loss is not None else ""
    return f"{STAGES.get(progress.stage, progress.stage).capitalize()}{share}{loss}{left} ({progress.seconds:.0f} s)"
