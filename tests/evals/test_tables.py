"""Tables by hand, and the page that they are written into."""

import pytest

from agent.errors import ConfigError
from evals import tables
from evals.report import report
from evals.runs import Run
from evals.tables import (
    against_ours,
    efficacy,
    first_at,
    recall_at_end,
    recall_at_lag,
    with_interval,
)


def answers(right, asked=4):
    return [{"right": i < right, "f1": 0.5, "exact": 0.0, "memory_tokens": 0} for i in range(asked)]


def run_of(arm, experiment, units):
    return {
        "about": {"experiment": experiment, "arm": arm, "data": "test"}, "units": units,
        "made": {"commit": "abc", "hardware": "two cores", "versions": {"torch": "2"}},
    }  # fmt: skip


COST = {
    "seconds": 2.0,
    "steps": 3,
    "trained_tokens": 5,
    "teacher_tokens": 7,
    "peak_bytes": 1e6,
    "kept_bytes": {"adapter": 2000},
}


def single_runs(**rights):
    return {
        arm: run_of(
            arm,
            "single",
            {f"0/{i}": {"cost": COST, "answers": answers(r)} for i, r in enumerate(found)},
        )
        for arm, found in rights.items()
    }


def test_efficacy_is_the_way_from_the_floor_to_the_ceiling():
    floor, ceiling = {"a": 0.0, "b": 0.2}, {"a": 0.8, "b": 1.0}
    assert efficacy({"a": 0.4, "b": 0.6}, floor, ceiling) == "0.50"
    assert efficacy({"a": 0.4}, floor, ceiling) == "0.50"  # on what all three have
    assert efficacy({"a": 0.4}, floor, floor) == "–"
    assert efficacy({"a": 0.4}, None, ceiling) == "–"


def test_a_difference_inside_its_interval_is_called_none():
    ours = {str(i): 0.5 for i in range(10)}
    assert against_ours(ours, {str(i): 0.7 for i in range(10)}) == "better by 0.20"
    assert against_ours(ours, {str(i): 0.2 for i in range(10)}) == "worse by 0.30"
    assert against_ours(ours, {str(i): 0.5 + (-1) ** i * 0.3 for i in range(10)}) == "none"
    assert against_ours(None, ours) == "–"


def test_recall_by_lag_and_at_the_end():
    matrix = [
        [0, 0, 4, 4, 1, 0],
        [1, 0, 2, 4, 1, 0],
        [1, 1, 3, 4, 1, 0],
        [2, 0, 0, 4, 1, 0],
        [2, 1, 1, 4, 1, 0],
        [2, 2, 4, 4, 1, 0],
    ]
    run = run_of("ours", "sequential-3", {"0/0": {"matrix": matrix, "cost": COST}})
    assert recall_at_lag(run, 0) == {"0/0": 11 / 12}
    assert recall_at_lag(run, 1) == {"0/0": 3 / 8}
    assert recall_at_lag(run, 2) == {"0/0": 0.0}
    assert recall_at_lag(run, 5) == {}
    assert recall_at_end(run) == {"0/0": 5 / 12}


def test_a_cost_is_that_of_the_first_time_a_recall_was_there():
    curve = [
        {"seconds": s, "steps": s, "trained_tokens": s, "recall": r}
        for s, r in ((1, 0.1), (2, 0.5), (3, 0.4), (4, 0.6))
    ]
    assert first_at(curve, 0.5)["seconds"] == 2
    assert first_at(curve, 0.7) is None
    units = {"0/0": {"cost": COST, "memory_tokens": 0, "curve": curve}}
    best = {"0/0": {"cost": COST, "memory_tokens": 9, "curve": [curve[-1] | {"recall": 0.9}]}}
    table = tables.cost_table(
        {"ours": run_of("ours", "cost", units), "ceiling": run_of("ceiling", "cost", best)}
    )
    (ours,) = [line for line in table.splitlines() if line.startswith("| ours")]
    assert "2 s, 2 steps, 0 k tokens (1 of 1)" in ours
    assert "never reached" in ours  # 75 % of 0.9


def test_a_mean_of_one_has_no_interval():
    assert with_interval({"a": 0.5}) == "0.50"
    assert with_interval({}) == "–"
    assert with_interval({"a": 0.5, "b": 0.5}) == "0.50 (0.50–0.50)"


@pytest.fixture
def results(tmp_path):
    runs = single_runs(base=[0] * 8, ceiling=[4] * 8, ours=[2] * 8, bm25=[3] * 8, dense=[1] * 8)
    for arm, run in runs.items():
        made = Run(tmp_path / "results" / "single" / f"{arm}.json", run["about"])
        for key, unit in run["units"].items():
            made.keep(key, unit)
    (tmp_path / "page.md").write_text(
        "# Evaluation\n\n<!-- report: summary -->\nold\n<!-- end -->\n\nBy hand.\n\n<!-- report: experiments -->\n<!-- end -->\n\nMore by hand.\n"
    )
    return tmp_path


def test_the_page_says_first_where_ours_loses_and_keeps_what_is_written_by_hand(results):
    text = report(results / "results", results / "page.md", results / "figures")
    assert text == (results / "page.md").read_text()
    assert "**Ours loses to:** bm25 in one context at a time, recall (0.25" in text
    assert "**Ours is better than:** dense" in text
    assert (
        text.index("loses")
        < text.index("By hand.")
        < text.index("### One context")
        < text.index("More by hand.")
    )
    assert "old" not in text
    assert "| ours | 8 | 0.50 (0.50–0.50) | 0.50 |" in text
    assert (results / "figures" / "single.svg").stat().st_size > 5000
    assert "](figures/single.svg)" in text
    assert report(results / "results", results / "page.md", results / "figures") == text


def test_a_page_without_a_block_and_a_folder_without_results_are_named(results):
    (results / "page.md").write_text("# Nothing\n")
    with pytest.raises(ConfigError, match="has no block"):
        report(results / "results", results / "page.md", results / "figures")
    with pytest.raises(ConfigError, match="no results"):
        report(results / "empty", results / "page.md", results / "figures")
