"""Places the components and connects them to the handlers; the only file that knows Gradio."""

import html
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import gradio as gr

from agent.errors import AgentError, ConfigError
from ui import handlers, panels
from ui.desk import Desk, History, Message
from ui.handlers import Page

logger = logging.getLogger(__name__)

STYLE = (Path(__file__).parent / "style.css").read_text()

THEME = gr.themes.Soft(font=["system-ui", "sans-serif"])
"""The reader's own font: nothing is fetched."""

QUIET = {"show_progress": "hidden", "api_visibility": "private"}

GREETING = (
    "### Talk about films, and about yourself\n"
    "What you tell me is learned into a small set of weights of your own when you go quiet. "
    "Next time I know it, with nothing of this chat in front of me."
)

SHOW, HIDE = gr.update(visible=True), gr.update(visible=False)
ON, OFF = gr.update(interactive=True), gr.update(interactive=False)


@dataclass
class Parts:
    """The components of the page that something happens to."""

    page: gr.State
    name: gr.Textbox
    chat: gr.Chatbot
    cost: gr.Markdown
    message: gr.Textbox
    send: gr.Button
    stop: gr.Button
    fresh: gr.Button
    state: gr.Markdown
    progress: gr.HTML
    learn: gr.Button
    retry: gr.Button
    cancel: gr.Button
    memory: gr.Checkbox
    forget: gr.Button
    erase: gr.Button
    keep: gr.Button


def build(desk: Desk) -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title="Imprint") as demo:
        page = gr.State(Page())
        with gr.Row(elem_id="top"):
            gr.Markdown("# Imprint\nA film companion that remembers you in its weights")
            name = gr.Textbox(
                label="Who are you?", value="guest", max_length=60, elem_id="name", submit_btn="This is me",
                info="Anyone at this computer can pick this name.", scale=0, min_width=320, max_lines=1,
            )  # fmt: skip
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                talk = _place_chat()
            with gr.Column(scale=1, min_width=320, elem_id="panel"):
                memory = _place_memory()
        parts = Parts(page, name, *talk, *memory)
        _connect_chat(desk, parts)
        _connect_memory(desk, parts)
        _connect_forget(desk, parts)
        demo.load(handlers.open_page, None, page, **QUIET)
    return demo


def _place_chat() -> tuple:
    chat = gr.Chatbot(
        elem_id="chat", height="62vh", placeholder=GREETING, buttons=[], feedback_options=None,
        show_label=False, render_markdown=False, latex_delimiters=[],
    )  # fmt: skip
    cost = gr.Markdown("", elem_id="cost")
    with gr.Row(elem_id="say"):
        message = gr.Textbox(
            placeholder="Say something…", show_label=False, elem_id="message", scale=6, autofocus=True,
            max_length=100_000, lines=1, max_lines=6, label="Message", container=False, min_width=200,
        )  # fmt: skip
        send = gr.Button("Send", variant="primary", elem_id="send", min_width=80)
        stop = gr.Button("Stop", elem_id="stop", min_width=80, interactive=False)
        fresh = gr.Button("New chat", elem_id="new-chat", min_width=100)
    return chat, cost, message, send, stop, fresh


def _place_memory() -> tuple:
    gr.Markdown("## Memory")
    state = gr.Markdown("**The model is being loaded…**", elem_id="state")
    progress = gr.HTML("", elem_id="progress")
    with gr.Row():
        learn = gr.Button(
            "Consolidate now", elem_id="consolidate", scale=2, min_width=160, interactive=False
        )
        cancel = gr.Button("Cancel", elem_id="cancel", min_width=80, interactive=False)
    retry = gr.Button("Try again what could not be learned", elem_id="retry", visible=False)
    memory = gr.Checkbox(
        True,
        label="Use memory",
        elem_id="memory",
        info="Off: answers know nothing of you, and are not kept.",
    )
    with gr.Accordion("Forget me", open=False, elem_id="forget-box"):
        gr.Markdown(
            "Erases every turn, question and generation of this name. This cannot be undone."
        )
        forget = gr.Button("Forget everything", variant="stop", elem_id="forget")
        erase = gr.Button("", variant="stop", elem_id="erase", visible=False)
        keep = gr.Button("No, keep it", elem_id="keep", visible=False)
    return state, progress, learn, retry, cancel, memory, forget, erase, keep


def _told(handler: Callable) -> Callable:
    """Show an error raised on purpose as its message; anything else is a bug, and looks like one."""

    @wraps(handler)
    def told(*arguments: object) -> object:
        try:
            return handler(*arguments)
        except AgentError as error:
            gr.Warning(str(error))
            return gr.skip()

    return told


def _shown(history: History) -> History:
    """Return the history for the chat, which reads HTML even where it reads no Markdown."""
    return [
        Message(role=message["role"], content=html.escape(message["content"], quote=False))
        for message in history
    ]


def _connect_chat(desk: Desk, parts: Parts) -> None:
    def show(updates: Iterator[handlers.Update]) -> Iterator[tuple]:
        for history, line, box in updates:
            yield (
                gr.skip() if history is None else _shown(history), line,
                gr.skip() if box is None else box, ON,
            )  # fmt: skip
        yield gr.skip(), gr.skip(), gr.skip(), OFF

    def say(page: Page, text: str, memory: bool) -> Iterator[tuple]:
        if text.strip():
            yield from show(handlers.reply(desk, page, text, memory=memory))
        else:
            gr.Warning("The message is empty. Type something to talk about.")
            yield tuple(gr.skip() for _ in range(4))

    def again(page: Page, memory: bool, data: gr.RetryData) -> Iterator[tuple]:
        yield from show(handlers.say_again(desk, page, data.index, memory=memory))

    @_told
    def undo(page: Page, data: gr.UndoData) -> tuple:
        history, line, text = handlers.take_back(desk, page, data.index)
        return _shown(history), line, text

    def empty(page: Page) -> tuple:
        return handlers.new_chat(desk, page), [], ""

    page, chat, cost = parts.page, parts.chat, parts.cost
    talk = {
        "concurrency_limit": 4, "concurrency_id": "talk", "api_visibility": "private",
        "show_progress": "minimal", "show_progress_on": cost,
    }  # fmt: skip
    outputs = [chat, cost, parts.message, parts.stop]
    gr.on(
        [parts.send.click, parts.message.submit], say, [page, parts.message, parts.memory], outputs, **talk
    )  # fmt: skip
    chat.retry(again, [page, parts.memory], outputs, **talk)
    chat.undo(undo, page, [chat, cost, parts.message], **QUIET)
    parts.stop.click(lambda page: handlers.stop(desk, page), page, None, **QUIET)
    parts.fresh.click(empty, page, [page, chat, cost], **QUIET)


def _connect_memory(desk: Desk, parts: Parts) -> None:
    def rename(page: Page, name: str) -> tuple | dict:
        try:
            page = handlers.choose_name(desk, page, name)
        except AgentError as error:
            gr.Warning(str(error))
            return {parts.name: page.display_name}
        greeting = f"Hello {panels.as_text(page.display_name)}. This is a new chat."
        return page, [], greeting, page.display_name, SHOW, HIDE, HIDE

    @_told
    def learn(page: Page) -> tuple:
        handlers.consolidate(desk, page)
        return "Getting ready…", OFF, OFF

    def poll(page: Page) -> tuple:
        now = panels.panel(desk, page)
        return (
            now.text, now.progress, gr.update(interactive=now.can_learn),
            gr.update(visible=now.can_retry, interactive=True), gr.update(interactive=now.can_cancel),
        )  # fmt: skip

    page, buttons = parts.page, [parts.learn, parts.retry]
    parts.name.submit(
        rename, [page, parts.name],
        [page, parts.chat, parts.cost, parts.name, parts.forget, parts.erase, parts.keep], **QUIET,
    )  # fmt: skip
    for button in buttons:
        button.click(learn, page, [parts.progress, *buttons], **QUIET)
    parts.cancel.click(_told(lambda page: handlers.cancel(desk, page)), page, None, **QUIET)
    gr.Timer(1.0).tick(
        poll, page, [parts.state, parts.progress, *buttons, parts.cancel], concurrency_limit=None, **QUIET
    )  # fmt: skip


def _connect_forget(desk: Desk, parts: Parts) -> None:
    def ask(page: Page) -> tuple:
        erase = gr.update(visible=True, value=f"Yes, erase {page.display_name}")
        return HIDE, erase, SHOW

    @_told
    def erase(page: Page) -> tuple:
        return *handlers.forget(desk, page), SHOW, HIDE, HIDE

    page, asked = parts.page, [parts.forget, parts.erase, parts.keep]
    parts.forget.click(ask, page, asked, **QUIET)
    parts.keep.click(lambda: (SHOW, HIDE, HIDE), None, asked, **QUIET)
    parts.erase.click(erase, page, [page, parts.chat, parts.cost, *asked], **QUIET)


def serve(desk: Desk, *, host: str, port: int, is_blocking: bool = True) -> gr.Blocks:
    """Open the page; returns when it is closed, or at once if not `is_blocking`.

    Raises:
        ConfigError: If the port is taken.
    """
    demo = build(desk).queue(default_concurrency_limit=8, max_size=64)
    try:
        demo.launch(
            server_name=host, server_port=port or None, theme=THEME, css=STYLE, run_history=False,
            prevent_thread_lock=True, quiet=True, footer_links=[], show_error=False,
            enable_monitoring=False, blocked_paths=[str(desk.settings.data_dir.absolute())],
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(
            f"Port {port} cannot be used, another program may have it. Give another --port, or 0 for any free one."
        ) from error
    logger.info("Imprint is at %s - open it in a browser; Ctrl-C stops it.", demo.local_url)
    if is_blocking:
        demo.block_thread()
    return demo
