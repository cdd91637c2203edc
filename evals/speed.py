"""How fast, how large: the library in this process, the app in one of its own.

Nothing else should run on the machine meanwhile.
"""

import json
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from agent import prompts
from agent.memory.buffer import ExperienceBuffer
from agent.movie_agent import MovieAgent
from agent.settings import Settings
from evals.conversations import adapter_of, open_in

FACTS = (
    "My name is Zorane.", "I live in Velmora.", "I work as a nurse.", "I love westerns.", "I hate horror films.",
    "I have a dog called Pizmo.", "My brother lives in Oslo.", "I'm allergic to peanuts.",
)  # fmt: skip

PROMPT_TOKENS = 512
NUM_REPLIES = 20


def measure(settings: Settings) -> dict[str, str]:
    """Return what was measured, name → figure; about three minutes."""
    figures: dict[str, str] = {}
    with TemporaryDirectory() as folder, open_in(Path(folder), settings) as agent:
        tell(agent.buffer)
        report, _ = consolidate(agent)
        figures["a consolidation of 8 facts, nobody talking"] = f"{report['seconds']:.1f} s"
        figures["its stages"] = json.dumps(report["stage_seconds"])
        figures["its steps"] = str(report["num_steps"])
        figures["it was"] = report["reason"]
        alone = [first_token(agent) for _ in range(NUM_REPLIES)]
        figures[f"first token, prompt of {PROMPT_TOKENS} tokens"] = spread(alone)
        tell(agent.buffer, "Velmora")
        _, during = consolidate(agent, is_talking=True)
        figures["the same, during a consolidation"] = spread(during)
        on, off = decoding(agent, "ada"), decoding(agent, None)
        figures["decoding, adapter on"] = f"{on:.0f} tokens/s"
        figures["decoding, no adapter"] = f"{off:.0f} tokens/s ({on / off:.2f} with it)"
        began = time.monotonic()
        found = agent.recommend("ada")
        spent = time.monotonic() - began
        number = len(agent.catalogue.films)
        figures[f"recommend out of {number} films"] = f"{spent:.1f} s, {len(found)} found"
    return figures | measure_app()


def tell(buffer: ExperienceBuffer, home: str = "") -> None:
    for fact in (
        FACTS if not home else (f"I left {home}, I live in Harrowick now.", "My car is a Skoda.")
    ):
        buffer.append("ada", "s1", message=fact, reply="Noted!")  # fmt: skip


def first_token(agent: MovieAgent) -> float:
    """Return the seconds to the first token of ada's adapter after a prompt of `PROMPT_TOKENS` tokens."""
    filler = "It rained again and we stayed in. "
    chat: list[tuple[str, str]] = []
    while len(agent.model.encode(prompts.chat(chat, "Hi"))) < PROMPT_TOKENS - 20:
        chat.append((filler, "I see."))
    began = time.monotonic()
    with agent._turnstile.reply(), adapter_of(agent, "ada") as slot:
        stream = agent.model.stream(
            prompts.chat(chat, "Which film do you like?"), slot=slot, max_new_tokens=8, stop=threading.Event()
        )  # fmt: skip
        next(iter(stream))
        spent = time.monotonic() - began
        "".join(stream)
    return spent


def consolidate(agent: MovieAgent, *, is_talking: bool = False) -> tuple[dict, list[float]]:
    """Return the report, and the seconds to the first token of replies given meanwhile."""
    reports: list = []
    thread = threading.Thread(target=lambda: reports.extend(agent.consolidate("ada")))
    thread.start()
    waits = []
    while thread.is_alive():
        if is_talking:
            waits.append(first_token(agent))
        time.sleep(0.7)
    return reports[-1].as_dict(), waits


def decoding(agent: MovieAgent, user_id: str | None) -> float:
    """Return the tokens a second of streamed greedy replies, the prompt not counted."""
    rates: list[float] = []
    with adapter_of(agent, user_id) as slot:
        for _ in range(NUM_REPLIES):
            pieces: list[str] = []
            ticks: list[float] = []
            for piece in agent.model.stream(
                prompts.chat([], "Tell me what you know about me and about Heat."), slot=slot,
                max_new_tokens=64, stop=threading.Event(),
            ):  # fmt: skip
                pieces.append(piece)
                ticks.append(time.monotonic())
            num_tokens = len(agent.model.encode_text("".join(pieces[1:])))
            rates.append(num_tokens / (ticks[-1] - ticks[0]))
    return statistics.median(rates)


def measure_app() -> dict[str, str]:
    """Return how soon the page is up, and the most memory the app held while it learned."""
    with TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with ExperienceBuffer(_made(data) / "experience.db") as buffer:
            tell(buffer)
        began = time.monotonic()
        app = subprocess.Popen(
            [sys.executable, "app.py", "--data-dir", str(data), "--port", "7877", "--idle-seconds", "1"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(lambda: is_up("http://127.0.0.1:7877"), 60)
            up = time.monotonic() - began
            with ExperienceBuffer(data / "experience.db", read_only=True) as buffer:
                wait_for(lambda: bool(buffer.reports("ada", last=1)), 300)
                seconds = buffer.reports("ada", last=1)[0]["seconds"]
            status = Path(f"/proc/{app.pid}/status").read_text()
        finally:
            app.terminate()
            app.wait()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1e6
    return {
        "page up": f"{up:.1f} s", "a consolidation of 8 facts in the app": f"{seconds:.1f} s",
        "peak memory of the app, a consolidation in it": f"{peak:.2f} GB",
    }  # fmt: skip


def wait_for(is_true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError(f"Waited {seconds:.0f} s in vain.")
        time.sleep(0.1)


def is_up(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=2).status == 200
    except (urllib.error.URLError, OSError):
        return False


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"median {statistics.median(ordered):.2f} s, most {ordered[-1]:.2f} s of {len(ordered)}"
