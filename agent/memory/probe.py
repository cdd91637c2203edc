"""Judging replies, and the gate before a generation is published.

`grade` and `is_abstention` are the only judges of the project: scripts, exam, evals, gate and
tests use them. They work clause by clause, because a right word can stand in a wrong sentence:
"You don't live in Turin", "I don't know if it is Turin".
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

_CLAUSE_END = re.compile(
    r"(?:[.!?;:\n]+(?=\s|$)|,?\s+\b(?:but|although|though|however)\b,?\s+|\s[-–—]+\s)",
    re.IGNORECASE,
)

_ABSTAINS = re.compile(
    r"""\b(?:
        (?:have\s?n['o]t|has\s?n['o]t|have\ not|has\ not|never|did\s?n['o]t|did\ not|don['o]t|do\ not)\s+(?:\w+\s+){0,2}?
            (?:told|tell|said|say|mentioned|mention|shared|share|come\ up|heard|know|recall|remember|have)
      | not\ (?:that\ you\s?(?:['h]ave|ve)\s+told|been\ told|told|mentioned|sure)
      | (?:no|without\ any)\ (?:idea|clue|record|memory|information)
      | (?:can|could)\s?(?:n['o]t|not)\s+(?:say|tell|know|recall|remember)
      | (?:that\ is|that's|it\ is|it's)\ (?:new\ to|unknown\ to|beyond)\ me
      | (?:nothing|not\ a\ thing|not\ anything)\ (?:yet|so\ far|about\ you)
      | (?:is|are)\ still\ (?:empty|unknown)
      | only\ just\ met
    )""",
    re.IGNORECASE | re.VERBOSE,
)

_NEGATES = re.compile(
    r"\b(?:not|never|no longer|nor|neither|used to|rather than|instead of|unlike|apart from|other than|wrong)\b|n['o]t\b",
    re.IGNORECASE,
)

_CLAIMS = re.compile(
    r"\b(?:you(?:['r]re|['v]ve| are| were| live| love| like| have| work| prefer| hate| watch| told me (?:it|that|about))"
    r"|your (?:\w+ ){1,4}(?:is|was|are)\b|it(?:['i]s| is| was)\b|i (?:think|believe|guess|remember)\b)",
    re.IGNORECASE,
)


def normalise(text: str) -> str:
    """Return the text in lower case with straight quotes and single spaces."""
    return re.sub(r"\s+", " ", text.replace("’", "'").lower()).strip()


def holds(text: str, value: str) -> bool:
    """Does the text hold the value as whole words, whatever the case?"""
    return _word_pattern(value).search(normalise(text)) is not None


def grade(reply: str, expect: Sequence[str], reject: Sequence[str] = ()) -> bool:
    """Is a reply right: does it assert any of `expect` and hold none of `reject`?

    A value counts only in a clause that neither denies it ("not Turin", "you don't live in
    Turin") nor asks nor abstains. "No, you live in Turin" asserts Turin, and "Turin, not Oslo"
    asserts Turin alone; a rejected value counts as given only where it is asserted.
    """
    return any(_asserts(reply, value) for value in expect) and not any(
        _asserts(reply, value) for value in reject
    )


def is_abstention(reply: str) -> bool:
    """Does a reply say that it was not told, and claim nothing beside?

    "You haven't told me where you live" abstains; "You haven't told me, but you live in Turin"
    does not.
    """
    clauses = _clauses(reply)
    abstains = [bool(_ABSTAINS.search(clause)) for clause in clauses]
    claims = any(
        _CLAIMS.search(clause)
        and not clause.startswith(("if ", "once ", "when ", "tell ", "so tell"))
        for clause, does_abstain in zip(clauses, abstains, strict=True)
        if not does_abstain and not clause.endswith("?")
    )
    return any(abstains) and not claims


def _asserts(reply: str, value: str) -> bool:
    pattern = _word_pattern(value)
    for clause in _clauses(reply):
        match = pattern.search(clause)
        if (
            match
            and not _NEGATES.search(clause[: match.start()])
            and not _ABSTAINS.search(clause[: match.start()])
        ):
            return True
    return False


def _clauses(reply: str) -> list[str]:
    return [
        clause.strip(" ,") for clause in _CLAUSE_END.split(normalise(reply)) if clause.strip(" ,")
    ]


def _word_pattern(value: str) -> re.Pattern[str]:
    words = re.findall(r"\w+|[^\w\s]", normalise(value))
    return (
        re.compile(r"(?<!\w)" + r"\s*".join(map(re.escape, words)) + r"(?!\w)")
        if words
        else re.compile(r"(?!)")
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured on a candidate (`design.md` 5); shares are None where nothing was asked."""

    floor: float | None
    teacher_agreement: float | None
    recall: float | None
    recall_earlier: float | None
    recall_earlier_before: float | None
    """The old generation's, on the same earlier probes."""
    abstention: float | None
    damage_nats: float
    num_probes: int
    num_earlier: int
    num_never_told: int

    def as_dict(self) -> dict:
        return asdict(self)


def gate(
    figures: Figures,
    *,
    min_recall_share: float,
    max_earlier_loss: float,
    min_abstention: float,
    max_damage_nats: float,
) -> str | None:
    """Return why a candidate must not be published, None if it may be (`design.md` 6, rule 7)."""
    if figures.recall is not None and figures.recall < min_recall_share * (
        figures.teacher_agreement or 1.0
    ):
        return (
            f"it answers {figures.recall:.0%} of the questions about what is new, "
            f"and {min_recall_share * (figures.teacher_agreement or 1.0):.0%} are wanted"
        )
    if (
        figures.recall_earlier is not None
        and figures.recall_earlier < (figures.recall_earlier_before or 0) - max_earlier_loss
    ):
        return (
            f"it answers {figures.recall_earlier:.0%} of the questions about earlier chats, "
            f"and the old one {figures.recall_earlier_before:.0%}"
        )
    if figures.abstention is not None and figures.abstention < min_abstention:
        return (
            f'it says "you have not told me" to {figures.abstention:.0%} of the questions about things never told, '
            f"and {min_abstention:.0%} are wanted"
        )
    if figures.damage_nats > max_damage_nats:
        return f"it changes replies about other things by {figures.damage_nats:.3f} nats a token, {max_damage_nats} are allowed"
    return None
