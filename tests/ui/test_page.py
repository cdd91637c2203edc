"""The page as a stranger meets it: the app in its own process, the house model, Debian's chromium."""

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.memory.buffer import ExperienceBuffer

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ROOT = Path(__file__).parent.parent.parent

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

expect.set_options(timeout=30_000)


class App:
    """`python app.py` on a free port; nothing is learned before somebody asks for it."""

    def __init__(self, folder):
        self.folder = folder
        command = [sys.executable, "app.py", "--port", "0", "--data-dir", str(folder), "--idle-seconds", "3600"]  # fmt: skip
        self._process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self.log = []
        for line in self._process.stderr:
            self.log.append(line)
            if found := re.search(r"Imprint is at (\S+)/ ", line):
                self.url = found[1]
                break
        else:
            raise AssertionError("".join(self.log))
        self._reading = threading.Thread(target=lambda: self.log.extend(self._process.stderr))
        self._reading.start()  # a full pipe would stop the app

    def turns(self, user_id="guest"):
        with ExperienceBuffer(self.folder / "experience.db") as buffer:
            return [(turn.message, turn.retracted_at is not None) for turn in buffer.turns(user_id, with_retracted=True)]  # fmt: skip

    def close(self):
        self._process.terminate()
        self._process.wait(60)
        self._reading.join()
        self._process.stderr.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    app = App(tmp_path_factory.mktemp("data"))
    yield app
    app.close()
    # What people said is in nobody's log, and nothing went wrong unseen.
    assert not re.search(r"Traceback|Velmora", "".join(app.log))


@pytest.fixture(scope="session")
def browser_type_launch_args():
    return {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]}  # fmt: skip


@pytest.fixture
def browser_context_args():
    return {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture
def watched(page):
    """A page with everything it asked for and complained about."""
    page.requested, page.complaints = [], []
    page.on("request", lambda request: page.requested.append(request.url))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: (page.complaints.append(dialog.message), dialog.dismiss()))
    return page


@pytest.fixture
def visit(app, watched):
    """Return a function that opens the page under a name that no other test uses."""

    def visit(name, page=watched):
        page.goto(app.url)
        expect(page.locator("#state")).to_contain_text("earned")
        rename(page, name)
        expect(page.locator("#cost")).to_contain_text(f"Hello {name}")
        return page

    return visit


def rename(page, name):
    page.locator("#name input").fill(name)
    page.locator("#name input").press("Enter")


def say(page, text):
    """Say something and wait for the whole reply."""
    number = page.locator("#chat .bot.message").count()
    page.locator("#message textarea").fill(text)
    page.locator("#message textarea").press("Enter")
    expect(page.locator("#chat .bot.message")).to_have_count(number + 1)
    expect(page.locator("#cost")).to_contain_text("memory tokens in the prompt")
    expect(page.locator("#stop")).to_be_disabled()


def messages(page):
    return page.locator("#chat .user.message")


def new_chat(page):
    page.locator("#new-chat").click()
    expect(messages(page)).to_have_count(0)


def test_a_message_is_answered_and_kept_and_costs_no_memory_tokens(app, visit):
    page = visit("Ada")
    expect(page).to_have_title("Imprint")
    say(page, "I live in Velmora.")
    expect(messages(page)).to_have_text("I live in Velmora.")
    expect(page.locator("#chat .bot.message")).not_to_be_empty()
    expect(page.locator("#cost")).to_contain_text("nothing learned yet · 0 memory tokens")
    expect(page.locator("#message textarea")).to_have_value("")
    expect(page.locator("#state")).to_contain_text("1 waiting to be learned")
    assert app.turns("ada") == [("I live in Velmora.", False)]
    assert page.complaints == []


def test_the_send_button_does_what_enter_does(visit):
    page = visit("Bob")
    page.locator("#message textarea").fill("Hello there")
    page.locator("#send").click()
    expect(page.locator("#cost")).to_contain_text("memory tokens in the prompt")
    expect(messages(page)).to_have_text("Hello there")


def test_stop_ends_a_reply_and_says_so(visit):
    page = visit("Ugo")
    page.evaluate(
        """setInterval(() => {
            const stop = document.querySelector("#stop");
            if (!stop.disabled) stop.click();
        }, 5)"""
    )  # quicker than a hand: a reply takes less than a second
    page.locator("#message textarea").fill("What do you know about films from Japan?")
    page.locator("#message textarea").press("Enter")
    expect(page.locator("#cost")).to_contain_text(re.compile("[Ss]topped"))
    expect(page.locator("#stop")).to_be_disabled()


def test_an_empty_message_is_refused_in_a_sentence(app, visit):
    page = visit("Cleo")
    page.locator("#message textarea").fill("   ")
    page.locator("#send").click()
    expect(page.get_by_text("The message is empty.")).to_be_visible()
    expect(messages(page)).to_have_count(0)
    assert app.turns("cleo") == []


def test_undo_gives_the_message_back_and_retracts_it(app, visit):
    page = visit("Dora")
    say(page, "I love westerns.")
    page.get_by_label("Undo").last.click()
    expect(page.locator("#message textarea")).to_have_value("I love westerns.")
    expect(messages(page)).to_have_count(0)
    expect(page.locator("#cost")).to_contain_text("Taken back")
    assert app.turns("dora") == [("I love westerns.", True)]


def test_retry_answers_again_and_keeps_one_turn(app, visit):
    page = visit("Emil")
    say(page, "I love comedies.")
    page.get_by_label("Retry").last.click()
    expect(page.locator("#state")).to_contain_text("1 waiting")
    expect(page.locator("#cost")).to_contain_text("memory tokens in the prompt")
    expect(messages(page)).to_have_count(1)
    assert app.turns("emil") == [("I love comedies.", True), ("I love comedies.", False)]


def test_a_new_chat_is_empty_and_what_waits_still_counts(visit):
    page = visit("Fay")
    say(page, "My name is Fay.")
    new_chat(page)
    say(page, "What's my name?")
    expect(page.locator("#cost")).not_to_contain_text("· 0 memory tokens")


def test_a_name_is_kept_as_typed_and_a_bad_one_is_refused(app, visit):
    page = visit("José")
    say(page, "Hello!")
    assert app.turns("jose") == [("Hello!", False)]
    rename(page, "!?")
    expect(page.locator(".toast-body")).to_contain_text("cannot be used as a name")
    expect(page.locator("#name input")).to_have_value("José")
    expect(messages(page)).to_have_count(1)


def test_memory_off_keeps_nothing(app, visit):
    page = visit("Hugo")
    page.get_by_label("Use memory").uncheck()
    say(page, "This is not kept.")
    expect(page.locator("#cost")).to_contain_text("memory off")
    assert app.turns("hugo") == []


def test_markup_is_shown_as_it_was_typed(visit):
    page = visit("Iris")
    text = '<img src=x onerror="alert(1)"> **bold** <script>alert(2)</script> $x^2$ <|end|>'
    say(page, text)
    expect(messages(page)).to_have_text(text)
    assert page.complaints == []


@pytest.mark.parametrize(
    "text", ["🎬" * 40, "שלום, אני אוהב סרטים", "a\u0000b\u0007c", "word " * 20_000]
)  # fmt: skip
def test_odd_messages_are_answered(visit, text):
    page = visit("Jan")
    say(page, text)
    expect(page.locator("#chat .bot.message")).not_to_be_empty()


def test_two_pages_do_not_see_each_other(app, visit, watched, browser):
    with browser.new_context() as context:
        hers, his = visit("Kim"), visit("Leo", context.new_page())
        say(hers, "I am Kim.")
        say(his, "I am Leo.")
        expect(messages(hers)).to_have_text(["I am Kim."])
        expect(messages(his)).to_have_text(["I am Leo."])
        assert app.turns("kim") == [("I am Kim.", False)]
        assert app.turns("leo") == [("I am Leo.", False)]


def test_learning_shows_its_progress_and_can_be_cancelled(app, visit):
    page = visit("Mina")
    say(page, "I work as a nurse.")
    page.locator("#consolidate").click()
    # Somebody whose turns fill a prompt is learned at once, before.
    expect(page.locator("#progress progress")).to_be_visible(timeout=240_000)
    page.locator("#cancel").click()
    expect(page.locator("#state")).to_contain_text("cancelled")
    expect(page.locator("#state")).to_contain_text("1 waiting to be learned")
    expect(page.locator("#consolidate")).to_be_enabled()
    expect(page.locator("#cancel")).to_be_disabled()


def test_what_was_told_is_known_in_a_new_chat_from_the_weights_alone(app, visit):
    page = visit("Nora")
    say(page, "I live in Velmora.")
    page.locator("#consolidate").click()
    expect(page.locator("#state")).to_contain_text("Last learned: ", timeout=240_000)
    expect(page.locator("#state")).to_contain_text("Generation 1 of your memory answers.")
    new_chat(page)
    say(page, "Where do I live?")
    expect(page.locator("#chat .bot.message")).to_contain_text("Velmora")
    expect(page.locator("#cost")).to_contain_text("generation 1 · 0 memory tokens in the prompt")


def test_forgetting_asks_first_and_erases_then(app, visit):
    page = visit("Olga")
    say(page, "I speak Welsh.")
    page.get_by_role("button", name="Forget me").click()
    page.locator("#forget").click()
    expect(page.locator("#erase")).to_have_text("Yes, erase Olga")
    page.locator("#keep").click()
    assert app.turns("olga") == [("I speak Welsh.", False)]
    page.locator("#forget").click()
    page.locator("#erase").click()
    expect(page.locator("#cost")).to_contain_text("Erased 1 turn and 0 generations of Olga.")
    expect(messages(page)).to_have_count(0)
    assert app.turns("olga") == []


def test_nothing_is_fetched_from_elsewhere(app, visit):
    page = visit("Paul")
    say(page, "Hello!")
    assert len(page.requested) > 10
    assert [url for url in page.requested if not url.startswith((app.url, "data:", "blob:"))] == []


def test_on_a_phone_everything_is_within_reach(visit):
    page = visit("Quin")
    page.set_viewport_size({"width": 390, "height": 844})
    say(page, "Hello from my phone!")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator("#message textarea")).to_be_in_viewport()
    expect(page.locator("#send")).to_be_in_viewport()
    page.locator("#consolidate").scroll_into_view_if_needed()
    expect(page.locator("#consolidate")).to_be_in_viewport()


def test_the_page_is_there_before_the_model_and_says_so(tmp_path, watched):
    app = App(tmp_path)
    try:
        watched.goto(app.url)
        watched.locator("#message textarea").fill("I live in Oslo.")
        watched.locator("#message textarea").press("Enter")
        expect(messages(watched)).to_have_text("I live in Oslo.")
        expect(watched.locator("#cost")).to_contain_text("memory tokens in the prompt")
    finally:
        app.close()
