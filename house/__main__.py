"""python -m house: make the house model.

python -m house text --number 3          read some training documents
python -m house tokenizer RUN            train the tokenizer of a run
python -m house train RUN --minutes 60   train, or go on training
python -m house mean RUN A B             average the weights of runs A and B
python -m house export RUN               write house/weights from a run
python -m house exam                     what the exported model can do
python -m house encoder RUN              train the sentence encoder of agent/data/encoder
"""

import json
import logging
import random
from pathlib import Path
from typing import Annotated

import typer

from agent.__main__ import run_app
from agent.catalogue import Catalogue
from agent.errors import ConfigError
from house.documents import Writer
from house.people import Grammar
from house.values import Values

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

HOUSE_WEIGHTS = Path(__file__).parent / "weights"

Run = Annotated[Path, typer.Argument(help="folder of the run, for example house/runs/first")]
Side = Annotated[str, typer.Option(help="wordings of train, dev or final")]
Seed = Annotated[int, typer.Option(help="of all that is drawn")]


def new_writer(side: str = "train", *, novel: bool = False) -> Writer:
    catalogue = Catalogue.load()
    films = [
        {"title": film.title, "directors": film.directors, "actors": film.actors}
        for film in catalogue.films
    ]
    return Writer(Grammar(Values(films, novel=novel), side=side), catalogue.films)


def needed(run: Path, name: str, command: str) -> Path:
    """Return a file of a run.

    Raises:
        ConfigError: If it is not there; it says which command makes it.
    """
    if not (run / name).is_file():
        raise ConfigError(f"{run} has no {name}. `python -m house {command}` makes it.")
    return run / name


@app.command()
def text(
    number: Annotated[int, typer.Option(help="of documents")] = 3,
    seed: Seed = 0,
    side: Side = "train",
    level: Annotated[float, typer.Option(help="how much is told: 0 little, 2 much")] = 1.0,
) -> None:
    """Print documents as the model reads them."""
    writer, rng = new_writer(side), random.Random(seed)
    for _ in range(number):
        for message in writer.document(rng, level):
            typer.echo(f"[{message['role']}] {message['content']}")
        typer.echo("-" * 80)


@app.command()
def tokenizer(
    run: Run,
    documents: Annotated[int, typer.Option(help="read for it")] = 40_000,
    seed: Seed = 1,
) -> None:
    """Train the tokenizer on a sample of the documents."""
    from house.tokenizer import train_tokenizer

    writer, rng = new_writer(), random.Random(seed)
    sample = (
        message["content"]
        for _ in range(documents)
        for message in writer.document(rng, rng.random())
    )
    train_tokenizer(sample).save_pretrained(run)
    typer.echo(f"{run}: tokenizer written")


@app.command()
def train(
    run: Run,
    tokens: Annotated[float, typer.Option(help="where it ends")] = 1e9,
    minutes: Annotated[float, typer.Option(help="where it ends, if sooner")] = 180,
    decay: Annotated[float, typer.Option(help="last share of it, in which the rate falls to 0")] = 0.3,
    seed: Seed = 0,
    start: Annotated[Path | None, typer.Option(help="folder of weights to begin with")] = None,
    peak: Annotated[float, typer.Option(help="factor of the learning rates")] = 1.0,
    layers: Annotated[int, typer.Option(min=1)] = 6,
    width: Annotated[int, typer.Option(help="of the embeddings, a multiple of 64", min=64)] = 384,
    hidden: Annotated[int, typer.Option(help="width inside the MLPs", min=1)] = 1152,
) -> None:  # fmt: skip
    """Train from scratch, or go on from the run's checkpoint; a line of log.jsonl every 50 steps."""
    from transformers import AutoTokenizer

    from house.train import Training

    needed(run, "tokenizer.json", f"tokenizer {run}")
    if width % 64:
        raise ConfigError(f"--width {width}: not a multiple of 64, the width of a head.")
    if start is not None:
        needed(start, "state.json", "train")
    logging.getLogger("house").setLevel(logging.INFO)
    training = Training(
        run, new_writer(), new_writer("dev", novel=True), AutoTokenizer.from_pretrained(run),
        seed=seed, total_tokens=tokens, total_seconds=minutes * 60, decay=decay, peak=peak,
        layers=layers, width=width, hidden=hidden,
    )  # fmt: skip
    if (run / "checkpoint.pt").exists():
        training.resume()
    elif start is not None:
        training.start_from(start)
    training.run()
    training.save_weights(run / "weights")


@app.command()
def mean(
    run: Run,
    of: Annotated[list[Path], typer.Argument(help="the runs, the last one trained last")],
    share: Annotated[float | None, typer.Option(help="weight of the last one [equal]")] = None,
    attention: Annotated[
        float | None, typer.Option(help="its weight in attention [as share]")
    ] = None,
) -> None:
    """Average the weights of runs that began with one another's: "model soups", Wortsman and others
    2022, arXiv:2203.05482. What is written counts the steps of the last run, and of those before it."""
    from house.mean import mean_of

    for other in of:
        needed(other, "weights/state.json", f"train {other}")
    mean_of([other / "weights" for other in of], run / "weights", share=share, attention=attention)
    typer.echo(f"{run}: mean of {len(of)} runs written")


@app.command()
def export(
    run: Run,
    to: Annotated[Path, typer.Option(help="folder to write")] = HOUSE_WEIGHTS,
    seed: Annotated[int, typer.Option(help="of the run, for the card")] = 0,
    hardware: Annotated[str, typer.Option(help="for the card")] = "two CPU cores",
) -> None:
    """Copy the weights of a finished run to where the app finds them, with tokenizer and card."""
    import shutil

    from transformers import AutoConfig, AutoTokenizer

    from house.card import hash_of_prompts, num_parameters, write_card

    needed(run, "tokenizer.json", f"tokenizer {run}")
    state = json.loads(
        needed(run, "weights/state.json", f"train {run}").read_text(encoding="utf-8")
    )
    shutil.copytree(
        run / "weights", to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("state.json")
    )
    AutoTokenizer.from_pretrained(run).save_pretrained(to)
    parameters, config = num_parameters(to), AutoConfig.from_pretrained(to)
    card = {
        "parameters": parameters / 1e6, "megabytes": parameters * 2 / 1e6, "layers": config.num_hidden_layers,
        "width": config.hidden_size, "context": config.max_position_embeddings, "vocabulary": config.vocab_size,
        "tokens": total_of(state, "tokens") / 1e6, "steps": total_of(state, "steps"),
        "hours": total_of(state, "seconds") / 3600, "hardware": hardware, "seed": seed, "prompts": hash_of_prompts(),
        "mean_of": state.get("mean_of", 1),
    }  # fmt: skip
    write_card(to, card)
    typer.echo(f"{to}: {card['parameters']:.1f} M parameters")


def total_of(state: dict, name: str) -> float:
    """Return a count of a run and of the runs whose weights it began with."""
    return state[name] + (total_of(state["earlier"], name) if "earlier" in state else 0)


@app.command()
def exam(
    model: Annotated[str, typer.Option(help="house, a folder, or a hub id")] = "house",
    side: Side = "final",
    least: Annotated[int, typer.Option(help="items of each figure", min=1)] = 300,
    seed: Seed = 0,
    only: Annotated[str, typer.Option(help="of these sources alone, comma between [all]")] = "",
    save: Annotated[bool, typer.Option(help="write the marks into the model's card")] = False,
    show: Annotated[bool, typer.Option(help="print every item that was wrong")] = False,
) -> None:  # fmt: skip
    """Ask the exported model about invented users and about films; print every figure with what is wanted."""
    from agent.model import LanguageModel
    from house.card import describe, read_card, table, with_marks, write_card
    from house.exam.figures import Item
    from house.exam.run import BESIDE, SOURCES
    from house.exam.run import exam as held

    chosen = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := sorted(set(chosen) - {*SOURCES, *BESIDE}):
        raise ConfigError(
            f"--only {unknown[0]}: no such source. There are {', '.join((*SOURCES, *BESIDE))}."
        )

    def shown(figure: str, item: Item, reply: str) -> None:
        if show:
            typer.echo(f"{figure}: {item.messages[-1]['content']} → {reply}")

    marks = held(
        LanguageModel.load(model), new_writer(side, novel=True), least=least, seed=seed, show=shown,
        only=lambda name: not chosen or name in chosen, progress=lambda text: typer.echo(text, err=True),
    )  # fmt: skip
    typer.echo(table(marks))
    if save:
        folder = HOUSE_WEIGHTS if model == "house" else Path(model)
        held_as = {"side": side, "least": least, "exam_seed": seed}
        card, marks = with_marks(read_card(folder), marks, held_as, is_part=bool(chosen))
        write_card(folder, card)
        (folder / "README.md").write_text(describe(card, marks), encoding="utf-8")


@app.command()
def encoder(
    run: Run,
    to: Annotated[Path, typer.Option(help="folder to write")] = Path("agent/data/encoder"),
    steps: Annotated[int, typer.Option(help="of training")] = 2000,
) -> None:
    """Train the sentence encoder that agent/memory/encoder.py loads."""
    from transformers import AutoTokenizer

    from house.encoder import train_encoder

    needed(run, "tokenizer.json", f"tokenizer {run}")
    loss = train_encoder(AutoTokenizer.from_pretrained(run), new_writer().grammar, to, steps=steps)
    typer.echo(f"{to}: loss {loss:.3f} nats")


if __name__ == "__main__":
    raise SystemExit(run_app(app, "python -m house"))
