"""The agent without a browser: chat, scripts, and a look at its memory."""

import io
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import typer

from agent.errors import AgentError, ConfigError
from agent.memory.folder import check_user_id, lock_folder

app = typer.Typer(help=__doc__, add_completion=False, rich_markup_mode=None)

User = Annotated[
    str, typer.Option("--user", callback=check_user_id, help="id of the user: a-z, 0-9, _ and -")
]
DataDir = Annotated[Path | None, typer.Option(help="home of turns and adapters [memory_logs]")]
Model = Annotated[str | None, typer.Option(help="house, a folder, or a hub id [house]")]
Quantize = Annotated[str | None, typer.Option(help="nf4 or none [nf4]")]


def open_agent(**values: object):
    from agent.settings import Settings, model_folder

    settings = Settings.read(**values)
    model_folder(settings.model)
    lock = lock_folder(settings.data_dir)  # a wrong folder is refused before seconds of imports
    from agent.movie_agent import MovieAgent

    return MovieAgent.open(settings, lock=lock)


def check_writable(path: Path) -> None:
    """Refuse an output file before the work that fills it."""
    try:
        path.open("a").close()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}). Give --json a file in a folder that can."
        ) from error


def show_progress(progress) -> None:
    """Write one line that overwrites itself, where a person is looking."""
    if not sys.stderr.isatty():
        return
    left = f", {progress.seconds_left:.0f} s left in it" if progress.seconds_left else ""
    loss = f", loss {progress.loss:.3f}" if progress.loss else ""
    print(
        f"\r\033[K{progress.stage} {progress.done}/{progress.total}{loss}{left}",
        end="",
        file=sys.stderr,
        flush=True,
    )


def end_progress() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


@app.command()
def script(
    files: Annotated[list[Path], typer.Argument(help="scripted conversations, YAML")],
    json_path: Annotated[
        Path | None, typer.Option("--json", help="write what happened here")
    ] = None,
    data_dir: DataDir = None,
    model: Model = None,
    quantize: Quantize = None,
    question_bank: Annotated[
        bool | None, typer.Option(help="ask the general questions too")
    ] = None,
    quiet: Annotated[bool, typer.Option(help="only the last line")] = False,
) -> None:
    """Run scripted conversations; exit 1 if an expectation fails."""
    from agent.scripts import read_script, run_script

    users = [user for path in files for user in read_script(path)]
    if json_path is not None:
        check_writable(json_path)
    with tempfile.TemporaryDirectory() as temporary:
        folder = data_dir or Path(temporary)
        with open_agent(
            data_dir=folder, model=model, quantize=quantize, use_question_bank=question_bank
        ) as agent:
            result = run_script(
                agent,
                users,
                show=(lambda line: None) if quiet else typer.echo,
                on_progress=show_progress,
            )
    end_progress()
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    typer.echo(f"{result['passed']} of {result['asked']} as expected")
    raise typer.Exit(int(result["passed"] < result["asked"]))


@app.command()
def chat(
    user: User, data_dir: DataDir = None, model: Model = None, quantize: Quantize = None
) -> None:
    """Talk in the terminal; an empty line ends it."""
    import uuid

    with open_agent(data_dir=data_dir, model=model, quantize=quantize) as agent:
        agent.start()
        session_id = uuid.uuid4().hex
        while True:
            try:
                message = input("you: ")
            except EOFError:
                break
            if not message.strip():
                break
            try:
                reply = agent.reply(user, session_id, message)
                print("imprint: ", end="", flush=True)
                for piece in reply:
                    print(piece, end="", flush=True)
            except AgentError as error:
                print(f"  {error}")
                continue
            print(
                f"\n  (generation {reply.generation}, {reply.memory_tokens} memory tokens, {reply.seconds:.1f} s)"
            )
            for notice in reply.notices:
                print(f"  {notice}")


@app.command()
def consolidate(
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask, however long it takes")] = False,
    data_dir: DataDir = None,
    model: Model = None,
    quantize: Quantize = None,
) -> None:
    """Learn what is pending now, with progress; asks first if that will take minutes."""
    with open_agent(data_dir=data_dir, model=model, quantize=quantize) as agent:
        seconds = agent.consolidator.estimate_seconds(user)
        if not yes and seconds > agent.settings.ask_above_seconds:
            typer.confirm(f"This will take about {seconds / 60:.0f} minutes. Go on?", abort=True)
        reports = agent.consolidate(user, on_progress=show_progress)
    end_progress()
    for report in reports:
        typer.echo(describe(report.as_dict()))
    if not reports:
        typer.echo(f"Nothing of {user} waits to be learned.")


@app.command()
def probe(
    user: User,
    question: Annotated[str, typer.Argument(help="in quotes")],
    memory: Annotated[str, typer.Option(help="on, off or prompt")] = "on",
    data_dir: DataDir = None,
    model: Model = None,
    quantize: Quantize = None,
) -> None:
    """Ask one question; the answer is not kept."""
    with open_agent(data_dir=data_dir, model=model, quantize=quantize) as agent:
        typer.echo(agent.probe(user, question, memory=memory).text)


@app.command()
def status(
    user: Annotated[str | None, typer.Option(help="only this user, by id")] = None,
    data_dir: DataDir = None,
) -> None:
    """Say what is stored, learned and pending."""
    from agent.memory.adapters import AdapterStore
    from agent.memory.buffer import ExperienceBuffer
    from agent.settings import Settings

    folder = Settings.read(data_dir=data_dir).data_dir
    store = AdapterStore(folder / "adapters")
    with ExperienceBuffer(folder / "experience.db", read_only=True) as buffer:
        users = [found for found in buffer.all_users() if user in (None, found.user_id)]
        if not users:
            raise AgentError(
                f"There is no user {user!r} in {folder}."
                if user
                else f"Nobody has said anything in {folder} yet."
            )
        for found in users:
            turns, pending = buffer.turns(found.user_id), buffer.pending(found.user_id)
            line = f"{found.user_id}: {len(turns)} turns, {len(pending)} pending"
            if found.live_generation:
                line += f" · {adapter_line(store, found.user_id, found.live_generation)}"
            typer.echo(line)


def adapter_line(store, user_id: str, generation: int) -> str:
    from agent.memory.adapters import served_name

    try:
        card = store.card(user_id, generation)
    except AgentError as error:  # of one user: the others are still shown
        return str(error)
    line = (
        f"adapter {served_name(user_id, generation)} ({card.get('adapter_bytes', 0) / 1e6:.1f} MB)"
    )
    return line + f" · recall {share(card.get('recall'))} (floor {share(card.get('floor'))})"


@app.command()
def forget(
    user: User,
    all_: Annotated[bool, typer.Option("--all", help="everything of this user; needed")] = False,
    yes: Annotated[bool, typer.Option(help="do not ask")] = False,
    data_dir: DataDir = None,
    model: Model = None,
    quantize: Quantize = None,
) -> None:
    """Erase everything of a user, from the database and from the weights."""
    if not all_:
        raise AgentError("forget needs --all; single facts cannot be forgotten yet.")
    if not yes:
        typer.confirm(f"Erase everything of {user}? This cannot be undone.", abort=True)
    with open_agent(data_dir=data_dir, model=model, quantize=quantize) as agent:
        num_turns, num_generations = agent.forget(user)
    typer.echo(f"Erased {num_turns} turns and {num_generations} generations of {user}.")


@app.command()
def settings() -> None:
    """Print every setting, its default, and where the default comes from."""
    from agent.settings import Settings

    typer.echo("| variable | default | |\n|---|---|---|")
    for name, field in Settings.model_fields.items():
        typer.echo(f"| `IMPRINT_{name.upper()}` | `{field.default}` | {field.description} |")


def describe(report: dict) -> str:
    """Return a report in a sentence."""
    if report["published"]:
        line = (
            f"{report['user_id']}@v{report['generation']}: {report['num_facts']} facts in {report['num_pairs']} questions, "
            f"{report['num_steps']} steps, {report['seconds']:.0f} s. Recall {share(report['recall'])} (floor {share(report['floor'])}), "
            f"abstention {share(report['abstention'])}, damage {report['damage_nats']:.3f} nats."
        )
    else:
        line = f"{report['user_id']}: nothing published: {report['reason']}."
    if report["num_doubtful"]:
        line += f" Not understood well enough to learn: {report['num_doubtful']}. Say it in other words, if it matters."
    return line


def share(value: float | None) -> str:
    """Return a figure, or a dash where nothing was asked."""
    return "–" if value is None else f"{value:.2f}"


def main() -> int:
    return run_app(app, "python -m agent")


def run_app(app: typer.Typer, name: str) -> int:
    """Run a command line of this project; return its exit code: 2 for bad input, in one sentence."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # warns of kernels nobody needs
    for stream in (sys.stdin, sys.stdout):  # bytes that are no text, signs the terminal lacks
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        return app(standalone_mode=False) or 0  # the code of typer.Exit, None without one
    except AgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except typer.Abort:
        print("Nothing was done.", file=sys.stderr)
        return 1
    except typer.TyperException as error:  # a wrong flag
        reason = error.format_message().rstrip(".")
        stop = "" if reason.endswith("?") else "."
        print(f"error: {reason}{stop} See {name} --help.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
