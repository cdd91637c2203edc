"""Judging replies, and the gate before a generation is published.

`grade` and `is_abstention` are the only judges of the project: scripts, exam, evals, gate and
tests use them. They work clause by clause, because a right word can stand in a wrong sentence:
"You don't live in Turin", "I don't know if it is Turin".
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import ceil, floor, sqrt
from typing import Protocol

_VALUE = "\x00"

_CLAUSE = re.compile(
    r"(?<=[.!?;:])\s+|\n+|,?\s+(?:(?<!where )(?<!thing )(?<!all )but|although|though|however)\b,?\s+"
    r"|(?<=\bnot quite),\s+|(?<=\bnot that),\s+|(?<=\bnot that one),\s+|(?<=\bnot exactly),\s+"
    r"|,\s+(?=(?:and|so|yet|i|you|your|it|that|he|she|they|we|not|\x00)\b|\x00)|\s[-–—]+\s"
)

_NOT_TOLD = re.compile(
    r"""
      \b(?:you|we|nobody|that|it)(?:'ve|\ have|\ has|'s)?\s*
        (?:haven't|havent|hasn't|hasnt|have\ not|has\ not|didn't|didnt|did\ not|never|not|have\ yet\ to|yet\ to)\s+
        (?:\w+\s+){0,3}?
        (?:told|tell|said|say|mentioned?|shared?|named?|give[n]?|talked|discussed|covered|spoken|come|came|let|heard|specified|revealed)\b
    | \bi\s+(?:really\ |simply\ |honestly\ |just\ )?(?:don't|dont|do\ not|didn't|can't|cant|cannot|can\ not|couldn't|could\ not|wouldn't)\s+
        (?:\w+\s+){0,2}?
        (?:know|recall|remember|tell|say|retain|store|keep|determine|see|think\ (?:you've|you\ have|we've|you)|believe\ (?:you've|we've|you))\b
    | \bi\s+(?:have|had|'ve|keep)\s+(?:no|nothing|not)\b | \bi\s+(?:haven't|have\ not|wasn't|never)\ (?:been|was)?\s*told\b | \bi\ don't\ have\ (?:any|that|access|this|a\ (?:record|note))
    | \b(?:i'm|i\ am)\ (?:not\ (?:sure|certain)|in\ the\ dark|unsure|unable) | \bi\ wish\ i\ knew | \bnot\ sure\b
    | \b(?:can't|cannot|can\ not|unable\ to)\ (?:recall|remember|access|determine)\b
    | \bno\ (?:idea|clue|record|memory|information|mention|way\ of\ knowing|note)\b | \bdunno\b
    | \b(?:new|unknown|a\ mystery)\ to\ me\b | \bbeyond\ me\b | \bnothing\ (?:yet|so\ far|about|in\ my)\b | \bnot\ a\ thing\b
    | \b(?:memory|page|list)\b.{0,20}\b(?:is|are)\ (?:still\ )?(?:empty|blank) | \bonly\ just\ met\b
    | ^(?:not|never)\ (?:that\ you|been\ told|told|mentioned|as\ far\ as\ i\ know|in\ our|yet)
    | ^not\ (?:who|what|where|which|when|how|whether|your|the|about)\b
    """,
    re.VERBOSE,
)
"""The clause says that the assistant was not told, or does not know."""

_USERS_DOUBT = re.compile(r"\byou (?:said|told me|mentioned) (?:that )?(?:you|you're|you are) ")

_DENIES = re.compile(
    r"\b(?:not|never|no longer|nor|neither|used to|rather than|instead of|unlike|apart from|other than|wrong|anywhere but"
    r"|anything but|everything but|all but)\b|n't\b|\b(?:dont|doesnt|isnt|arent|wasnt|didnt)\b"
)

_IDIOMS = re.compile(
    r"\b(?:can't|cannot|can not|couldn't|could not) (?:stand|bear|wait|get enough|live without|resist|help|watch)\b"
    r"|\bnever (?:miss|tire|get tired)\w*\b|\b(?:not|n't) (?:only|just)\b|\bn't (?:only|just)\b|\b\w+n't (?:only|just)\b"
)
"""Negative words that deny nothing about the value that follows."""

_CLAIMS = re.compile(
    r"\b(?:you(?:'re|'ve| are| were| live| love| like| have| work| prefer| hate| watch| don't|'d)\b"
    r"|your (?:\w+ ){1,4}(?:is|was|are)\b|yours is\b|(?:it's|it is|it was)\b|(?:i|my best|my) (?:think|believe|guess)\b)"
)

_OTHER_MATTER = re.compile(
    r"^(?:and |so |yet |that |well, )?(?:i (?:do )?(?:know|remember)|you(?:'ve)? (?:told|said|mentioned|asked)"
    r"|we(?:'ve)? (?:talked|spoke)|if |once |when |tell |anyway)"
)
"""What an abstaining reply says beside: other things it was told, an invitation."""


def normalise(text: str) -> str:
    """Return the text in lower case, without accents, with plain quotes and hyphens."""
    plain = unicodedata.normalize("NFKD", text.replace("’", "'"))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return re.sub(r"\s+", " ", re.sub(r"[‐-―]", "-", plain).lower()).strip()


def holds(text: str, value: str) -> bool:
    """Does the text hold the value as whole words, whatever the case?"""
    return _word_pattern(value).search(normalise(text)) is not None


def grade(reply: str, expect: Sequence[str], reject: Sequence[str] = ()) -> bool:
    """Is a reply right: does it assert any of `expect` and none of `reject`?

    A value counts only in a clause that neither denies it ("not Turin", "you don't live in
    Turin") nor asks, supposes or abstains. "No, you live in Turin" asserts Turin, "Turin, not
    Oslo" asserts Turin alone. Whose value it is, it cannot tell: "your sister lives in Turin"
    asserts Turin, unless the reply as a whole abstains.
    """
    if is_abstention(reply):
        return False
    return any(_asserts(reply, value) for value in expect) and not any(
        _asserts(reply, value) for value in reject
    )


def is_abstention(reply: str) -> bool:
    """Does a reply say that it was not told, and claim nothing beside?

    "You haven't told me where you live" abstains; "You haven't told me, but you live in Turin"
    does not. Other things it says it was told are no claim about what was asked.
    """
    clauses = _clauses(normalise(reply))
    abstains = [
        bool(_NOT_TOLD.search(clause)) and not _USERS_DOUBT.search(clause) for clause in clauses
    ]
    claims = any(
        _CLAIMS.search(clause) and not _OTHER_MATTER.search(clause) and not clause.endswith("?")
        for clause, does_abstain in zip(clauses, abstains, strict=True)
        if not does_abstain
    )
    return any(abstains) and not claims


def _asserts(reply: str, value: str) -> bool:
    # The value becomes one sign first: a title may hold a colon, or the word "not".
    marked = _word_pattern(value).sub(_VALUE, normalise(reply))
    for clause in _clauses(marked):
        before, found, after = clause.partition(_VALUE)
        before = _IDIOMS.sub(" ", before)
        if (
            found
            and not clause.endswith("?")
            and not clause.startswith("if ")
            and not _DENIES.search(before)
            and not _NOT_TOLD.search(before)
            and not re.match(r"\s*(?:is|was|are|does|do)(?:n't| not)\b", after)
            and not (
                before.rstrip().endswith("from")
                and re.search(r"\b(?:moved|switched|changed)\b", clause)
            )
        ):
            return True
    return False


def _clauses(text: str) -> list[str]:
    return [clause.strip(" ,") for clause in _CLAUSE.split(text) if clause.strip(" ,")]


def _word_pattern(value: str) -> re.Pattern[str]:
    words = re.findall(r"\w+|[^\w\s-]", normalise(value))
    return (
        re.compile(r"(?<!\w)" + r"[\s-]*".join(map(re.escape, words)) + r"(?!\w)")
        if words
        else re.compile(r"(?!)")
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured on a candidate; shares are None where nothing was asked."""

    floor: float | None
    teacher_agreement: float | None
    recall: float | None
    recall_earlier: float | None
    recall_earlier_before: float | None
    """The old generation's, on the same earlier probes."""
    abstention: float | None
    damage_nats: float
    num_probes: int
    """Held-out wordings; 0 if trained ones had to do."""
    num_earlier: int
    num_never_told: int

    def as_dict(self) -> dict:
        return asdict(self)


class Probe(Protocol):
    """A question with the value that a right answer asserts."""

    question: str
    value: str


def measure(
    answer: Callable[[Sequence[str], str], list[str]],
    *,
    new: Sequence[Probe],
    trained: Sequence[Probe],
    earlier: Sequence[Probe],
    never_told: Sequence[str],
    slots: tuple[str, str, str],
    teacher_agreement: float | None,
    damage_nats: float,
) -> Figures:
    """Ask the probes and count.

    Args:
        answer: Takes questions and a slot, returns the replies to an empty prompt.
        trained: Asked in place of `new` if there is none; `num_probes` is 0 then.
        slots: Of the base, of the live generation, and of the candidate.
    """
    base, live, candidate = slots

    def share_right(probes: Sequence[Probe], slot: str) -> float | None:
        replies = answer([probe.question for probe in probes], slot)
        right = [grade(reply, [probe.value]) for probe, reply in zip(probes, replies, strict=True)]
        return sum(right) / len(right) if right else None

    abstained = [is_abstention(reply) for reply in answer(never_told, candidate)]
    return Figures(
        floor=share_right(new or trained, base),
        teacher_agreement=teacher_agreement,
        recall=share_right(new or trained, candidate),
        recall_earlier=share_right(earlier, candidate),
        recall_earlier_before=share_right(earlier, live),
        abstention=sum(abstained) / len(abstained) if abstained else None,
        damage_nats=damage_nats,
        num_probes=len(new),
        num_earlier=len(earlier),
        num_never_told=len(never_told),
    )


def interval(right: int, asked: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, 1927)."""
    z, share = 1.96, right / asked
    centre = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z / (1 + z * z / asked) * sqrt(share * (1 - share) / asked + z * z / (4 * asked**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def gate(
    figures: Figures,
    *,
    min_recall_share: float,
    max_earlier_loss: float,
    min_abstention: float,
    max_damage_nats: float,
) -> str | None:
    """Return why a candidate must not be published, None if it may be (docs/method.md, rule 7)."""
    if figures.recall is not None and figures.recall < min_recall_share * (
        figures.teacher_agreement or 1.0
    ):
        return (
            f"it answers {floor(100 * figures.recall)}% of the questions about what is new, "
            f"and {ceil(100 * min_recall_share * (figures.teacher_agreement or 1.0))}% are wanted"
        )
    if (
        figures.recall_earlier is not None
        and figures.recall_earlier < (figures.recall_earlier_before or 0) - max_earlier_loss - 1e-9
    ):
        return (
            f"it answers {figures.recall_earlier:.0%} of the questions about earlier chats, "
            f"and the old one {figures.recall_earlier_before:.0%}"
        )
    if figures.abstention is not None and figures.abstention < min_abstention:
        return (
            f'it says "you have not told me" to {floor(100 * figures.abstention)}% of the questions about things never told, '
            f"and {min_abstention:.0%} are wanted"
        )
    if figures.damage_nats > max_damage_nats:
        return f"it changes replies about other things by {figures.damage_nats:.3f} nats a token, {max_damage_nats} are allowed"
    return None
