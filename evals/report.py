"""All runs become docs/evaluation.md and docs/figures/.

What is written stands between `<!-- report: NAME -->` and `<!-- end -->`; all else of the page is
written by hand.
"""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from agent.errors import ConfigError
from evals.arms.registry import NOT_ARMS
from evals.plots import draw
from evals.runs import read_run
from evals.tables import films_lost, markdown, table_of
from evals.values import (
    OURS,
    Runs,
    Values,
    difference,
    of_units,
    recall_at_end,
    recall_batch,
    recall_single,
    share_of,
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
        arms = found.setdefault(run["about"]["experiment"], {})
        for other in arms.values():
            for what in ("model", "data", "settings"):
                if other["about"][what] != run["about"][what]:
                    raise ConfigError(
                        f"{path} has {what} = {run['about'][what]}, other arms {other['about'][what]}: they cannot be compared. "
                        f"Give a folder of its own to each."
                    )
        arms[run["about"]["arm"]] = run
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
    if not page.is_file():
        raise ConfigError(f"There is no {page}. Give --page a file that has the blocks.")
    text = page.read_text(encoding="utf-8")
    names = {found["name"] for found in BLOCK.finditer(text)}
    for name in ("summary", "experiments"):
        if name not in names:
            raise ConfigError(
                f"{page} has no block {name!r}. Put <!-- report: {name} --> and <!-- end --> where it belongs."
            )
    drawn = draw(runs, figures)
    blocks = {"summary": summary(runs), "experiments": experiments(runs, drawn, page.parent)}
    text = BLOCK.sub(lambda found: f"{found[1]}{blocks[found['name']]}\n{found[3]}", text)
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
            place = Path(os.path.relpath(drawn[experiment], beside)).as_posix()
            parts.append(f"![{title_of(experiment)}]({place})")
        parts.append(made(arms))
    parts.append("No arms: " + "; ".join(f"{name} ({why})" for name, why in NOT_ARMS.items()) + ".")
    return "\n\n".join(parts)


def made(arms: Runs) -> str:
    """Return in one sentence how the runs of an experiment were made."""

    def most(values: list[str]) -> str:
        return ", ".join(dict.fromkeys(value for value, _ in Counter(values).most_common()))

    of = [one for run in arms.values() for one in run["made"]]
    seeds = sorted({key.partition("/")[0] for run in arms.values() for key in run["units"]})
    return (
        f"*Commit {most([one['commit'] for one in of])}; {most([one['hardware'] for one in of])}; seeds {', '.join(seeds)}; "
        f"torch {most([one['versions']['torch'] for one in of])}; data: {most([run['about']['data'] for run in arms.values()])}.*"
    )


def summary(runs: dict[str, Runs]) -> str:
    """Return where ours loses to a baseline, in the first paragraph, then all differences as a table."""
    lost, rows = [], []
    for experiment, what, values in compared(runs):
        if not values.get(OURS):
            continue
        name = f"{title_of(experiment)}: {what}"
        found = {arm: difference(values[OURS], values[arm]) for arm in BASELINES if arm in values}
        worse = [
            f"{arm} ({-mean:.2g})"
            for arm, (mean, _, _, is_one) in ((a, f) for a, f in found.items() if f)
            if is_one and mean < 0
        ]
        if worse:
            lost.append(f"*{name}* to {', '.join(worse)}")
        rows.append(
            [name, *(_difference_cell(found[arm]) if arm in found else "" for arm in BASELINES)]
        )
    first = (
        f"**Where ours loses to a baseline:** {'; '.join(lost)}."
        if lost
        else "**Ours loses to no baseline.**"
    )
    about = (
        "Ours minus each baseline on the same items, more being better, with its 95 % interval; *none*: the runs can show "
        "no difference (interval, or sign-flip test at 0.05); *few*: fewer than six pairs. What an arm that knows nothing wins is "
        "compared only with what it loses: stale with the latest value, bleed with others' facts, abstention with recall."
    )
    return f"{first}\n\n{about}\n\n{markdown(['', *BASELINES], rows)}"


def _difference_cell(found: tuple[float, float, float, bool] | None) -> str:
    if found is None:
        return "few"
    mean, low, high, is_one = found
    return f"**{mean:+.2g}** ({low:+.2g} to {high:+.2g})" if is_one else "none"


def compared(runs: dict[str, Runs]) -> list[tuple[str, str, dict[str, Values]]]:
    """Return what the arms are compared by: experiment, figure, arm → values of which more is better.

    What an arm that knows nothing wins is compared only with what it loses: right and not stale, right
    and not somebody else's, recall and abstention together.
    """

    def known(unit: dict) -> float:
        recall, abstention = (share_of(name)(unit) for name in ("recall", "abstention"))
        return (recall + abstention) / 2

    def learning(unit: dict) -> float:
        return -unit["cost"]["seconds"]

    personal = {
        name: share_of(name)
        for name in ("recall", "latest value", "others", "context beats weights", "taste on unseen films")
    } | {
        "mean of recall and abstention": known, "damage in nats": lambda unit: -unit["damage_nats"],
        "film questions lost": lambda unit: -films_lost(unit),
    }  # fmt: skip
    readers: dict[str, dict[str, Callable[[dict], Values]]] = {
        "single": {"recall": recall_single, "QA-F1": lambda run: recall_single(run, "f1"),
                   "seconds of learning": lambda run: of_units(run, learning)},
        "batch": {"recall": recall_batch},
        "sequential": {"recall at the end": recall_at_end},
        "taste": {"NDCG@10": lambda run: of_units(run, lambda unit: unit["ndcg@10"])},
        "personal": {
            name: lambda run, read=read: of_units(run, read) for name, read in personal.items()
        },
    }  # fmt: skip
    return [
        (experiment, what, {arm: read(run) for arm, run in arms.items() if run["units"]})
        for experiment, arms in runs.items()
        for what, read in readers.get(experiment.partition("-")[0], {}).items()
    ]
