"""What an answer or a ranking is worth, and how sure we can be of a mean.

QA-F1 and exact match are those of LongBench (arXiv:2308.14508) and SQuAD; ranking metrics those of
"Large Language Models as Zero-Shot Conversational Recommenders" (He and others, CIKM 2023).
"""

import itertools
import math
import operator
import random
import re
import string
from collections import Counter
from collections.abc import Sequence


def normalised(text: str) -> str:
    """Return the text in lower case without punctuation, articles and double spaces."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", text).split())


def exact_match(answer: str, expected: str) -> float:
    return float(normalised(answer) == normalised(expected))


def qa_f1(answer: str, expected: str) -> float:
    """Return the harmonic mean of precision and recall of the words, 0 to 1."""
    found, wanted = normalised(answer).split(), normalised(expected).split()
    shared = sum((Counter(found) & Counter(wanted)).values())
    if not shared:
        return 0.0
    return 2 * shared / (len(found) + len(wanted))


def rank_of(title: str, ranking: Sequence[str]) -> int | None:
    """Return the place of a title in a ranking, from 1; None where it is missing."""
    return ranking.index(title) + 1 if title in ranking else None


def recall_at(k: int, rank: int | None) -> float:
    return float(rank is not None and rank <= k)


def ndcg_at(k: int, rank: int | None) -> float:
    """Return the discounted gain of the one right title: 1 at the first place, 0.63 at the second."""
    return 1 / math.log2(rank + 1) if rank is not None and rank <= k else 0.0


def mrr_at(k: int, rank: int | None) -> float:
    return 1 / rank if rank is not None and rank <= k else 0.0


def bootstrap(values: Sequence[float], *, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean: percentiles of resampled means (Efron, 1979)."""
    rng, number = random.Random(seed), len(values)
    means = sorted(sum(rng.choices(values, k=number)) / number for _ in range(draws))
    return means[round(0.025 * (draws - 1))], means[round(0.975 * (draws - 1))]


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean difference of two arms on the same items, and its 95 % interval. A difference
    whose interval holds 0 is none."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    low, high = bootstrap(differences, draws=draws, seed=seed)
    return sum(differences) / len(differences), low, high


def sign_flip(differences: Sequence[float], *, draws: int = 10_000, seed: int = 0) -> float:
    """Return how likely a mean difference at least this far from 0 is if each difference could as well have the
    other sign (Fisher's paired randomization test, two-sided): exact up to 13 differences, by draws
    beyond. Of five it is never under 0.05."""
    number, far = len(differences), abs(sum(differences)) - 1e-12
    if number <= 13:
        signs = itertools.product((1, -1), repeat=number)
        sums = [sum(map(operator.mul, sign, differences)) for sign in signs]
        return sum(abs(total) >= far for total in sums) / len(sums)
    rng = random.Random(seed)
    hits = sum(
        abs(sum(d if rng.random() < 0.5 else -d for d in differences)) >= far for _ in range(draws)
    )
    return (hits + 1) / (draws + 1)
