"""Counts and their intervals, as they stand in docs/evaluation.md."""

from collections.abc import Iterable

from agent.memory.probe import interval


def share(passed: Iterable[bool]) -> str:
    """Return "right of asked = share (interval)", a dash for nothing."""
    marks = list(passed)
    if not marks:
        return "–"
    low, high = interval(sum(marks), len(marks))
    return f"{sum(marks)} of {len(marks)} = {sum(marks) / len(marks):.2f} ({low:.2f}–{high:.2f})"
