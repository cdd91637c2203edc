"""All runs become docs/evaluation.md and docs/figures/.

What is written stands between `<!-- report: NAME -->` and `<!-- end -->`; all else of the page is
written by hand.
"""

import re
from collections import Counter
from pathlib import Path

from agent.errors import ConfigError
from evals.plots import draw
from evals.runs import read_run
from evals.tables import (
    OURS,
    Runs,
    Values,
    difference,
    of_units,
    recall_at_end,
    recall_batch,
    recall_single,
    share_of,
    table_of,
)

BLOCK = re.compile(r"(<!-- report: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

TITLES = {
    "single": "One context at a time", "batch": "contexts at once", "sequential": "contexts one after the other",
    "taste": "Films that would be loved", "personal": "What the paper leaves out", "cost": "The cost of the same recall",
    "latency": "The cost of a long past",
}  # fmt: skip

BASELINES = (
    "full-history",
    "bm25",
    "dense",
    "ft-context",
    "ft-sentences",
    "self-param",
    "self-param-best",
    "popularity",
)


def read_all(folder: Path) -> dict[str, Runs]:
    """Return experiment → arm → run.

    Raises:
        ConfigError: There is none, or one is damaged.
    """
    found: dict[str, dict[str, dict]] = {}
    for path in sorted(folder.glob("*/*.json")):
        run = read_run(path)
        found.setdefault(run["about"]["experiment"], {})[run["about"]["arm"]] = run
    if not found:
        raise ConfigError(f"There are no results in {folder}. `python -m evals single` makes some.")
    order = list(TITLES)
    return dict(
        sorted(
            found.items(),
            key=lambda item: (order.index(item[0].partition("-")[0]), len(item[0]), item[0]),
        )
    )


def report(results: Path, page: Path, figures: Path) -> str:
    """Write the blocks of the page and the figures; return the page.

    Raises:
        ConfigError: The page lacks a block.
    """
    runs = read_all(results)
    drawn = draw(runs, figures)
    blocks = {"summary": summary(runs), "experiments": experiments(runs, drawn, page.parent)}
    text = page.read_text(encoding="utf-8")
    missing = blocks.keys() - {found["name"] for found in BLOCK.finditer(text)}
    if missing:
        raise ConfigError(
            f"{page} has no block {sorted(missing)[0]!r}. Put <!-- report: {sorted(missing)[0]} --> and <!-- end --> where it belongs."
        )
    text = BLOCK.sub(lambda found: f"{found[1]}{blocks.get(found['name'], '')}\n{found[3]}", text)
    page.write_text(text, encoding="utf-8")
    return text


def title_of(experiment: str) -> str:
    kind, _, number = experiment.partition("-")
    return f"{number} {TITLES[kind]}".strip()


def experiments(runs: dict[str, Runs], drawn: dict[str, Path], beside: Path) -> str:
    """Return a section for each experiment: its table, its plot, and how it was made."""
    parts = []
    for experiment, arms in runs.items():
        parts.append(f"### {title_of(experiment)}\n\n{table_of(experiment, arms)}")
        if experiment in drawn:
            parts.append(f"![{title_of(experiment)}]({drawn[experiment].relative_to(beside)})")
        parts.append(made(arms))
    return "\n\n".join(parts)


def made(arms: Runs) -> str:
    """Return in one sentence how the runs of an experiment were made."""

    def most(values: list[str]) -> str:
        return ", ".join(dict.fromkeys(value for value, _ in Counter(values).most_common()))

    of = [run["made"] for run in arms.values() if run["made"]]
    seeds = sorted({key.partition("/")[0] for run in arms.values() for key in run["units"]})
    return (
        f"*Commit {most([one['commit'] for one in of])}; {most([one['hardware'] for one in of])}; seeds {', '.join(seeds)}; "
        f"torch {most([one['versions']['torch'] for one in of])}; data: {most([run['about']['data'] for run in arms.values()])}.*"
    )


def summary(runs: dict[str, Runs]) -> str:
    """Return where ours loses to a baseline, first, then where it wins, then where there is no difference."""
    lost, won, even = [], [], []
    for experiment, what, values in compared(runs):
        if OURS not in values:
            continue
        for arm in BASELINES:
            if arm not in values or not (found := difference(values[OURS], values[arm])):
                continue
            mean, low, high = found
            where = f"{arm} in {title_of(experiment).lower()}, {what}"
            if low <= 0 <= high:
                even.append(where)
            else:
                line = f"{where} ({abs(mean):.2f}, {min(abs(low), abs(high)):.2f}–{max(abs(low), abs(high)):.2f})"
                (won if mean > 0 else lost).append(line)

    def told(intro: str, found: list[str]) -> str:
        return f"**{intro}** {'; '.join(found)}." if found else f"**{intro}** none."

    return "\n\n".join([
        told("Ours loses to:", lost), told("Ours is better than:", won), told("No difference that the runs can show:", even),
    ])  # fmt: skip


def compared(runs: dict[str, Runs]) -> list[tuple[str, str, dict[str, Values]]]:
    """Return what the arms are compared by: experiment, figure, arm → values (more is better)."""
    found = []
    for experiment, arms in runs.items():
        kind = experiment.partition("-")[0]
        readers = {
            "single": {"recall": recall_single}, "batch": {"recall": recall_batch}, "sequential": {"recall at the end": recall_at_end},
            "taste": {"NDCG@10": lambda run: of_units(run, lambda unit: unit["ndcg@10"])},
            "personal": {
                name: lambda run, name=name: of_units(run, share_of(name))
                for name in ("recall", "latest value", "others", "abstention", "context beats weights", "taste on unseen films")
            } | {
                f"little {name}": lambda run, name=name: {k: -v for k, v in of_units(run, share_of(name)).items()}
                for name in ("stale", "bleed")
            },
        }.get(kind, {})  # fmt: skip
        for what, read in readers.items():
            found.append((experiment, what, {arm: read(run) for arm, run in arms.items()}))
    return found
