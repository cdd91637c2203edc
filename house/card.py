"""The card of the house model: card.json for programs, README.md for people."""

import hashlib
import json
import math
from pathlib import Path

from safetensors import safe_open

from agent import prompts
from agent.memory.probe import interval
from house.exam.figures import FIGURES, Mark

CARD = "card.json"

TEXT = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# Imprint house model

A small chat model for one purpose: to be the base of a film companion that remembers its users in
LoRA adapters. It answers from what stands in its prompt, writes questions about it, says when it was
not told, and knows the films of `agent/data/films.csv`. For anything else it is useless.

| | |
|---|---|
| parameters | {parameters:.1f} M, {megabytes:.1f} MB in bf16 |
| architecture | Qwen3: {layers} layers, width {width}, context {context} |
| vocabulary | {vocabulary}, byte-level BPE, trained on the same text |
| data | {tokens:.1f} M tokens of documents that `house/` writes, each read once; no other text |
| training | {steps} steps, {hours:.1f} hours in all: {hardware}; seed {seed} |
| weights | the mean of {mean_of} runs ([model soups](https://arxiv.org/abs/2203.05482)), weighted as `docs/lab_book.md` says |
| made by | `python -m house train`, `mean`, `export`, `exam` |
| sha256 of `agent/prompts.py` | `{prompts}` |

## Exam

`python -m house exam --least {least} --seed {exam_seed}`: invented users tell things; then each is asked in a fresh chat with
what was told in the prompt. Wordings, names and open kinds are of the side "{side}", which no training text has; the
model runs in NF4 as in the app. 95 % intervals (Wilson). In **bold** what is short of what was wanted.

| figure | wanted | counted | of | share |
|---|---|---|---|---|
{exam}

## Limits

English only. It takes words at face value, understands the wordings that its text came near to, and is
wrong more often the more a message wanders. What it says about films outside the catalogue is made up.
"""


def hash_of_prompts() -> str:
    return hashlib.sha256(Path(prompts.__file__).read_bytes()).hexdigest()


def num_parameters(folder: Path) -> int:
    """Return how many numbers the weights of a folder hold."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def write_card(folder: Path, card: dict) -> None:
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def read_card(folder: Path) -> dict:
    return json.loads((folder / CARD).read_text(encoding="utf-8"))


def with_marks(
    card: dict, marks: dict[str, Mark], held_as: dict, *, is_part: bool
) -> tuple[dict, dict[str, Mark]]:
    """Return the card with the marks of an exam, and all of its marks: if only a part was held, in the
    same way as before (`held_as`: side, number of items, seed), the other figures stay."""
    if is_part and held_as.items() <= card.items():
        marks = {name: Mark(*counts) for name, counts in card["exam"].items()} | marks
    return card | held_as | {
        "exam": {name: [mark.hits, mark.asked] for name, mark in marks.items()}
    }, marks


def table(marks: dict[str, Mark]) -> str:
    """Return the marks as the rows of a Markdown table, in the order of the exam."""
    rows = []
    for name, figure in FIGURES.items():
        if name not in marks:
            continue
        hits, asked = marks[name].hits, marks[name].asked
        low, high = interval(hits, asked)
        share = (
            f"{hits / asked:.3f}" if figure.is_reached(hits / asked) else f"**{hits / asked:.3f}**"
        )
        sign = "≤" if figure.is_mistake else "≥"
        rows.append(
            f"| {name} | {sign} {figure.wanted:.2f} | {hits} | {asked} | {share} ({low:.3f}–{high:.3f}) |"
        )
    return "\n".join(rows)


def describe(card: dict, marks: dict[str, Mark]) -> str:
    """Return the text of README.md."""
    return TEXT.format(**card | {"exam": table(marks)})
