# ruff: noqa: E501 - a wording that is wrapped is harder to read than a long line
"""Pages with a simple script."""

from random import Random

from starter_model import values, vocabulary, wording
from starter_model.composing import Draft, Kind
from starter_model.markup import block, line, page, raw, tag
from starter_model.values import chance
from starter_model.wording import loose, quote


def _text(r: Random) -> str:
    text = r.choice((values.sentence, values.title, lambda q: values.words(q, 1, 4)))(r)
    return text if not set('"&\\') & set(text) else values.words(r, 2, 5)


def _label(r: Random) -> str:
    return r.choice(vocabulary.BUTTON_WORDS) if chance(r, 0.5) else values.words(r, 1, 3)


def _draft(r: Random, noun: str, title: str, body: list[str], script: list[str]) -> Draft:
    """Return the request, sometimes with a title for the page, and the page."""
    request = wording.make(r, noun) if chance(r, 0.6) else wording.page_with(r, noun)
    if chance(r, 0.2):
        request = wording.then(request, r.choice(("Use JavaScript.", "Use a script.", "Use plain JavaScript.")))
    if chance(r, 0.3):
        title = values.title(r)
        request = wording.then(
            request,
            r.choice((f"The title is {quote(r, title)}.", f"Title: {title}", f"Call the page {quote(r, title)}.")),
        )
        body = [line("h1", title), *body]
    return Draft(request, "", page(title, body, script=script))


def counter(r: Random) -> Draft:
    """A button that counts its clicks."""
    label, start, step = _label(r), r.randrange(0, 1000), r.randrange(1, 100)
    noun = r.choice(("a click counter", "a counter", "a counter button", "a button that counts clicks"))
    phrase = f"{noun}{r.choice((' that starts at ', ' starting at ', ' starting from '))}{start}"
    if chance(r, 0.5):
        phrase += r.choice(
            (f" and goes up by {step}", f" and counts in steps of {step}", f" and increases by {step} per click")
        )
    else:
        step = 1
    phrase += r.choice((" with a button labelled ", " and a button that says ", " with the button ")) + quote(r, label)
    body = [line("p", str(start), id="count"), line("button", label, type="button", onclick="count()")]
    script = [
        f"let total = {start};",
        "function count() {",
        f"  total += {step};",
        '  document.getElementById("count").textContent = total;',
        "}",
    ]
    return _draft(r, phrase, "Counter", body, script)


def toggle(r: Random) -> Draft:
    """A button that shows and hides a text."""
    label, text = _label(r), values.sentence(r)
    phrase = r.choice((
        f"a button {quote(r, label)} that shows and hides the text {quote(r, text)}",
        f"a {quote(r, label)} button that toggles the paragraph {quote(r, text)}",
        f"a text {quote(r, text)} that a button {quote(r, label)} hides and shows",
        f"a button labelled {quote(r, label)} to toggle the visibility of the text {quote(r, text)}",
    ))  # fmt: skip
    body = [line("button", label, type="button", onclick="toggle()"), line("p", text, id="text")]
    script = [
        "function toggle() {",
        '  const text = document.getElementById("text");',
        "  text.hidden = !text.hidden;",
        "}",
    ]
    return _draft(r, phrase, "Toggle", body, script)


def change_text(r: Random) -> Draft:
    """A button that replaces a text by another."""
    label, before, after = _label(r), _text(r), _text(r)
    phrase = r.choice((
        f"a button {quote(r, label)} that changes the text {quote(r, before)} to {quote(r, after)}",
        f"a paragraph {quote(r, before)} that becomes {quote(r, after)} when the button {quote(r, label)} is clicked",
        f"the text {quote(r, before)} and a button {quote(r, label)} that replaces it with {quote(r, after)}",
    ))  # fmt: skip
    body = [line("p", before, id="text"), line("button", label, type="button", onclick="change()")]
    script = ["function change() {", f'  document.getElementById("text").textContent = "{after}";', "}"]
    return _draft(r, phrase, "Change", body, script)


def change_colour(r: Random) -> Draft:
    """A button that changes the background, or the text, to a colour."""
    label, shade = _label(r), values.colour(r)
    what, name, target = r.choice(
        (("background", "backgroundColor", "document.body"), ("text color", "color", "document.body"))
    )
    phrase = r.choice((
        f"a button {quote(r, label)} that turns the {what} {loose(r, shade)}",
        f"a button labelled {quote(r, label)} that changes the {what} of the page to {shade}",
        f"a {quote(r, label)} button that makes the {what} {shade} when clicked",
    ))  # fmt: skip
    body = [line("button", label, type="button", onclick="paint()")]
    return _draft(r, phrase, "Color", body, ["function paint() {", f'  {target}.style.{name} = "{shade}";', "}"])


def greet(r: Random) -> Draft:
    """A box for a name and a button that greets."""
    label, word = (
        _label(r),
        r.choice(("Hello", "Welcome", "Good morning", "Hi", "Greetings", values.capital(values.made_up(r)))),
    )
    phrase = r.choice((
        f"a text box for a name and a button {quote(r, label)} that greets the visitor with {quote(r, word)}",
        f"an input for the name and a {quote(r, label)} button that says {quote(r, word)} and the name",
        f"a name field and a button {quote(r, label)} which shows {quote(r, word)} followed by the name",
    ))  # fmt: skip
    body = [line("label", "Name:", for_="name"), tag("input", type="text", id="name"),
            line("button", label, type="button", onclick="greet()"), line("p", "", id="greeting")]  # fmt: skip
    script = ["function greet() {", '  const name = document.getElementById("name").value;',
              f'  document.getElementById("greeting").textContent = "{word}, " + name + "!";', "}"]  # fmt: skip
    return _draft(r, phrase, "Greeting", body, script)


def today(r: Random) -> Draft:
    """The date or the time after a text."""
    word = values.words(r, 1, 3) if chance(r, 0.7) else r.choice(("Today is", "The date is", "Now", "It is now"))
    what, call = r.choice(
        (
            ("the current date", "toLocaleDateString"),
            ("the current time", "toLocaleTimeString"),
            ("today's date", "toLocaleDateString"),
        )
    )
    phrase = r.choice(
        (
            f"a script that shows {what} after the text {quote(r, word)}",
            f"{what} after the words {quote(r, word)}",
            f"{what}, with {quote(r, word)} before it",
        )
    )
    body = [f'<p>{word} <span id="now"></span></p>']
    return _draft(
        r,
        phrase,
        "Date" if call == "toLocaleDateString" else "Time",
        body,
        [f'document.getElementById("now").textContent = new Date().{call}();'],
    )


def adder(r: Random) -> Draft:
    """Two numbers and a button that computes with them."""
    label = _label(r)
    verb, sign, noun = r.choice(
        (
            ("adds", "+", "sum"),
            ("multiplies", "*", "product"),
            ("subtracts", "-", "difference"),
            ("divides", "/", "quotient"),
        )
    )
    phrase = r.choice((
        f"two number inputs and a button {quote(r, label)} that {verb} them",
        f"a calculator that {verb} two numbers when the button {quote(r, label)} is clicked",
        f"a form of two numbers and a button {quote(r, label)} showing their {noun}",
    ))  # fmt: skip
    body = [tag("input", type="number", id="first"), tag("input", type="number", id="second"),
            line("button", label, type="button", onclick="compute()"), line("p", "", id="result")]  # fmt: skip
    script = ["function compute() {", '  const first = Number(document.getElementById("first").value);',
              '  const second = Number(document.getElementById("second").value);',
              f'  document.getElementById("result").textContent = first {sign} second;', "}"]  # fmt: skip
    return _draft(r, phrase, "Calculator", body, script)


def pick(r: Random) -> Draft:
    """A button that shows a random entry of a list."""
    label, entries = _label(r), values.items(r, 2, 6)
    phrase = r.choice((
        f"a button {quote(r, label)} that shows a random one of {wording.listing(r, entries)}",
        f"a random picker with the button {quote(r, label)} and the choices {wording.listing(r, entries)}",
        f"a button labelled {quote(r, label)} that picks at random from {wording.listing(r, entries)}",
    ))  # fmt: skip
    quoted = ", ".join(f'"{text}"' for text in entries)
    body = [line("button", label, type="button", onclick="pick()"), line("p", "", id="choice")]
    script = [f"const choices = [{quoted}];", "function pick() {", "  const place = Math.floor(Math.random() * choices.length);",
              '  document.getElementById("choice").textContent = choices[place];', "}"]  # fmt: skip
    return _draft(r, phrase, "Random choice", body, script)


def countdown(r: Random) -> Draft:
    """A countdown that ends in a text."""
    start, end = r.randrange(2, 4000), _text(r)
    phrase = r.choice((
        f"a countdown from {start} that ends with {quote(r, end)}",
        f"a timer that counts down from {start} seconds and then shows {quote(r, end)}",
        f"a countdown timer of {start} seconds that shows {quote(r, end)} at the end",
    ))  # fmt: skip
    script = [f"let left = {start};", "const timer = setInterval(function () {", "  left -= 1;",
              f'  document.getElementById("left").textContent = left > 0 ? left : "{end}";', "  if (left <= 0) {",
              "    clearInterval(timer);", "  }", "}, 1000);"]  # fmt: skip
    return _draft(r, phrase, "Countdown", [line("p", str(start), id="left")], script)


def numbers(r: Random) -> Draft:
    """A script that writes the numbers of a range into a list."""
    low, high = r.randrange(0, 100), r.randrange(101, 1000)
    phrase = r.choice(
        (
            f"a script that lists the numbers from {low} to {high}",
            f"a loop that writes the numbers {low} to {high} into a list",
            f"a list of the numbers from {low} to {high}, filled by a script",
        )
    )
    script = [f"for (let number = {low}; number <= {high}; number += 1) {{", '  const item = document.createElement("li");',
              "  item.textContent = number;", '  document.getElementById("numbers").appendChild(item);', "}"]  # fmt: skip
    return _draft(r, phrase, "Numbers", [raw("ul", "", id="numbers")], script)


def growing_list(r: Random) -> Draft:
    """A to-do list with a text box, a button and initial items."""
    label, entries = _label(r), values.items(r, 1, 4)
    noun = r.choice(("a to-do list", "a todo list", "a shopping list", "a task list"))
    phrase = f"{noun} with {wording.listing(r, entries)} and a button {quote(r, label)} that adds new items"
    body = [*block("ul", [line("li", text) for text in entries], id="list"), tag("input", type="text", id="entry"),
            line("button", label, type="button", onclick="add()")]  # fmt: skip
    script = ["function add() {", '  const entry = document.getElementById("entry");', '  const item = document.createElement("li");',
              "  item.textContent = entry.value;", '  document.getElementById("list").appendChild(item);', '  entry.value = "";', "}"]  # fmt: skip
    return _draft(r, phrase, values.capital(noun.split(" ", 1)[1]), body, script)


SCRIPTED: dict[str, Kind] = {
    "counter": counter,
    "toggle": toggle,
    "change text": change_text,
    "change colour": change_colour,
    "greet": greet,
    "date": today,
    "calculator": adder,
    "random choice": pick,
    "countdown": countdown,
    "numbers": numbers,
    "growing list": growing_list,
}
