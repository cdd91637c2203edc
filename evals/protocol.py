"""The INSPIRED / ReDial protocol: does a reply name the film that was really recommended next?

    reply ── its list of lines ─▶ the nearest entity each (edit distance) ─▶ a ranking of titles
    one row per (point, true film): recall@k, NDCG@10, MRR@10

As He and others (CIKM 2023, "Large Language Models as Zero-Shot Conversational Recommenders") score
what a model writes, and SELF-PARAM (arXiv:2410.00487, section 4.3) after them.
"""

import json
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein, Prefix

from agent.errors import ConfigError
from evals.jsonl import read_lines
from evals.metrics import mrr_at, ndcg_at, rank_of, recall_at

MAX_DISTANCE = 2
"""Edits up to which a match counts as the title that was meant, where rows are *filtered*."""

KS = (1, 5, 10, 20)

CONDITIONS = ("all", "recommendation", "discussion")
"""Of true films: every one, those not mentioned before, those mentioned before."""

NUMBERED = re.compile(r"\s*\d+\.\s*")


@dataclass(frozen=True)
class Match:
    title: str
    edit_distance: int


@dataclass(frozen=True)
class Prediction:
    """What a model answered at one point of a conversation."""

    text: str
    truth: tuple[str, ...]
    """The films really recommended next."""
    seen: frozenset[str]
    """What was mentioned before."""
    matched: tuple[Match, ...] | None
    """The published parse, if the file has one."""


def read_predictions(path: Path) -> list[Prediction]:
    """Read a file of predictions, one JSON object a line: text, gt, seen, and perhaps matched.

    Raises:
        ConfigError: If there is no such file, or a line is none; it gives the line and the reason.
    """

    def parse(row: dict) -> Prediction:
        matched = row.get("matched")
        return Prediction(
            str(row["text"]), tuple(row["gt"]), frozenset(row["seen"]),
            None if matched is None
            else tuple(Match(str(m["title"]), int(m["edit_distance"])) for m in matched),
        )  # fmt: skip

    return read_lines(path, parse, what="a prediction: text, gt and seen")


def read_candidates(path: Path) -> list[str]:
    """Return the names of the entities of entity2id.json, which replies are matched against.

    Raises:
        ConfigError: If there is no such file, or it is no JSON object.
    """
    return [name_of(entity) for entity in read_entities(path)]


def read_entities(path: Path) -> dict[str, int]:
    """Return entity2id.json.

    Raises:
        ConfigError: If there is no such file, or it is no JSON object of entities.
    """
    try:
        entities = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} is no JSON object of entities ({type(error).__name__})."
        ) from error
    if not entities:
        raise ConfigError(f"{path} has no entities.")
    return entities


def name_of(entity: str) -> str:
    """Return "Hoffa" for "<http://dbpedia.org/resource/Hoffa_(film)>"."""
    return _plain(re.sub(r"[_\->]", " ", entity.rsplit("/", 1)[-1]))


def _plain(text: str) -> str:
    """Return the text without what stands in parentheses, and without double spaces."""
    return " ".join(re.sub(r"\(.*?\)", "", text).split())


def listed(text: str) -> list[str]:
    """Return what a reply lists: the lines from the first numbered one on, else all of them, without
    number and parentheses."""
    lines = text.strip().split("\n")
    first = next((i for i, line in enumerate(lines) if NUMBERED.match(line)), 0)
    return [_plain(NUMBERED.sub("", line, count=1)) for line in lines[first:]]


def match(lines: Sequence[str], candidates: Sequence[str]) -> list[Match]:
    """Return the nearest candidate of each line by edits, case aside; of several the one that begins
    most like it: "Frozen 2" is "Frozen II" and not "Frozen"."""
    lower = [name.lower() for name in candidates]
    queries = [line.lower() for line in lines]
    distances = process.cdist(queries, lower, scorer=Levenshtein.distance, dtype=np.int32)
    found = []
    for query, row in zip(queries, distances, strict=True):
        nearest = np.flatnonzero(row == row.min())
        best = max(nearest, key=lambda j: Prefix.similarity(query, lower[j]))
        found.append(Match(candidates[best], int(row[best])))
    return found


def with_matches(
    predictions: Sequence[Prediction], candidates: Sequence[str], *, anew: bool = False
) -> Iterator[tuple[Prediction, Sequence[Match]]]:
    """Yield predictions with the parse of the file, or with our own: where it has none, or `anew`."""
    for prediction in predictions:
        yield (
            prediction,
            (
                match(listed(prediction.text), candidates)
                if anew or prediction.matched is None
                else prediction.matched
            ),
        )


def score(matched: Sequence[tuple[Prediction, Sequence[Match]]]) -> list[dict]:
    """Return a row for each of filtered or not, seen titles excluded or not, and condition."""
    return [
        _row(matched, filtered=filtered, exclude_seen=exclude_seen, condition=condition)
        for filtered in (False, True)
        for exclude_seen in (False, True)
        for condition in CONDITIONS
    ]


def _row(
    matched: Sequence[tuple[Prediction, Sequence[Match]]],
    *,
    filtered: bool,
    exclude_seen: bool,
    condition: str,
) -> dict:
    ranks: list[int | None] = []
    for prediction, matches in matched:
        titles = [m.title for m in matches if not filtered or m.edit_distance <= MAX_DISTANCE]
        if exclude_seen:
            titles = [title for title in titles if title not in prediction.seen]
        for film in prediction.truth:
            if condition == "all" or (film in prediction.seen) == (condition == "discussion"):
                ranks.append(rank_of(film, titles))

    def mean(values: list[float]) -> float:
        return statistics.fmean(values) if values else 0.0

    return {
        "filtered": filtered, "exclude_seen": exclude_seen, "condition": condition, "n": len(ranks),
        **{f"recall@{k}": mean([recall_at(k, rank) for rank in ranks]) for k in KS},
        "ndcg@10": mean([ndcg_at(10, rank) for rank in ranks]),
        "mrr@10": mean([mrr_at(10, rank) for rank in ranks]),
    }  # fmt: skip


def table(rows: Sequence[dict]) -> str:
    """Return the rows as a Markdown table."""
    names = list(rows[0])
    lines = [
        f"| {' | '.join(name.replace('_', ' ') for name in names)} |",
        "|---" * len(names) + "|",
    ]

    def shown(value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:.5f}" if isinstance(value, float) else str(value)

    return "\n".join([*lines, *(f"| {' | '.join(shown(row[n]) for n in names)} |" for row in rows)])
