"""Scoring of replies at the points of INSPIRED."""

import json
from pathlib import Path

import pytest

from agent.errors import ConfigError
from evals.__main__ import app
from evals.protocol import (
    Match,
    Prediction,
    listed,
    match,
    name_of,
    read_candidates,
    read_predictions,
    score,
    with_matches,
)

DATA = Path(__file__).parents[3] / "shared" / "data" / "inspired"

PUBLISHED = {  # (filtered, seen excluded, condition) → recall@1, @5, @10, @20, NDCG@10, MRR@10
    (False, False, "all"): (0.02767, 0.07510, 0.10277, 0.14229, 0.06016, 0.04713),
    (False, False, "recommendation"): (0.02844, 0.07109, 0.09953, 0.13270, 0.05830, 0.04584),
    (False, True, "all"): (0.02767, 0.05929, 0.08696, 0.11067, 0.05150, 0.04087),
    (True, False, "all"): (0.03557, 0.09091, 0.11462, 0.12648, 0.07183, 0.05855),
    (True, True, "all"): (0.03162, 0.07510, 0.09486, 0.09881, 0.06068, 0.05004),
}

has_data = pytest.mark.skipif(not DATA.is_dir(), reason="INSPIRED's data are not on this machine")


@has_data
@pytest.mark.parametrize(("anew", "within"), [(False, 1e-5), (True, 0.004)])
def test_the_published_figures_come_out(anew, within):
    predictions = read_predictions(DATA / "predictions_mistral_7b.jsonl")
    candidates = read_candidates(DATA / "entity2id.json")
    rows = score(list(with_matches(predictions, candidates, anew=anew)))
    found = {(row["filtered"], row["exclude_seen"], row["condition"]): row for row in rows}
    for key, figures in PUBLISHED.items():
        row = found[key]
        got = [row[f"recall@{k}"] for k in (1, 5, 10, 20)] + [row["ndcg@10"], row["mrr@10"]]
        assert got == pytest.approx(figures, abs=within), key
    assert found[False, False, "all"]["n"] == 253


def test_rows_by_hand():
    prediction = Prediction("", ("Heat", "Up"), frozenset({"Up", "Alien"}), None)
    matches = [Match("Alien", 0), Match("Up", 1), Match("Heat", 3)]
    rows = {
        (row["filtered"], row["exclude_seen"], row["condition"]): row
        for row in score([(prediction, matches)])
    }
    assert rows[False, False, "all"]["recall@1"] == 0
    assert rows[False, False, "all"]["recall@5"] == 1
    assert rows[False, False, "all"]["mrr@10"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert rows[False, False, "discussion"]["n"] == 1  # Up was mentioned before
    assert rows[False, True, "recommendation"]["recall@1"] == 1  # Alien and Up are gone
    assert rows[True, False, "recommendation"]["recall@20"] == 0  # three edits: not meant


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Try these:\n\n1. Heat (1995)\n2. Up\n\nEnjoy!", ["Heat", "Up", "", "Enjoy!"]),
        ("Heat or Up", ["Heat or Up"]),
        ("1.  Fast (a) & Furious", ["Fast & Furious"]),
    ],
)
def test_what_a_reply_lists(text, lines):
    assert listed(text) == lines


def test_of_several_nearest_names_the_one_that_begins_most_like_it():
    names = ["Frozen", "Frozen II", "Up"]
    assert match(["frozen 2", "UP"], names) == [Match("Frozen II", 2), Match("Up", 0)]
    assert name_of("<http://dbpedia.org/resource/The_Thing_(1982_film)>") == "The Thing"


@pytest.mark.parametrize("line", ["nonsense", '{"text": "Heat"}', "[1]", '{"text": 1, "gt": 2}'])
def test_a_line_that_is_no_prediction_is_named(tmp_path, line):
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"text": "1. Up", "gt": ["Up"], "seen": []}\n' + line + "\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_predictions(path)


def test_the_command_writes_the_rows_and_prints_them(tmp_path, capsys):
    predictions, candidates, out = (tmp_path / name for name in ("p.jsonl", "c.json", "o.json"))
    predictions.write_text('{"text": "1. Up", "gt": ["Up"], "seen": []}\n')
    candidates.write_text('{"<http://x/Up_(film)>": 0, "<http://x/Heat>": 1}')
    app(
        ["recommend", "--predictions", str(predictions), "--candidates", str(candidates), "--json", str(out)],
        standalone_mode=False,
    )  # fmt: skip
    rows = json.loads(out.read_text())
    assert len(rows) == 12
    assert rows[0] == {
        "filtered": False, "exclude_seen": False, "condition": "all", "n": 1, "recall@1": 1.0, "recall@5": 1.0,
        "recall@10": 1.0, "recall@20": 1.0, "ndcg@10": 1.0, "mrr@10": 1.0,
    }  # fmt: skip
    assert "| no | no | all | 1 | 1.00000 |" in capsys.readouterr().out
