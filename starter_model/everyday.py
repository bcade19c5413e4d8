"""Everyday tasks: requests as people word them, each with many correct pages.

The files in `everyday_tasks/` define tasks as Jinja templates. Each task has several wordings and a page. The values,
the style and the layout of the page are drawn again for every row.

    {% set wide = chance(0.3) %}            Text before the first task belongs to every task of the file.
    === login form x2                       A task. `x2` doubles its frequency.
    {% set name = person() %}               Values that all parts of the task share.
    --- ask                                 The wordings, one per line. One of them is drawn.
    {{ Make }} {{ a_page }} with a login form.
    --- input                               The row's input. Optional.
    --- title                               The parts of a whole page: title, style, body and script.
    --- fragment                            Alternatively: an answer that is not a whole page.

`python -m starter_model.everyday FILE [TASK]` checks the pages of a file and prints examples of the task.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from models.scoring.html import parse_errors
from starter_model import values, vocabulary
from starter_model.composing import Draft
from starter_model.values import chance

FOLDER = Path(__file__).with_name("everyday_tasks")
DOCTYPE = "<!DOCTYPE html>"
"""Every answer starts with the doctype, even a fragment, because a page without it is not valid."""
PARTS = ("input", "title", "style", "body", "script", "fragment")
MIN_WORDINGS = 3
_BETWEEN = "\x1e"
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_MAKE = ("Create", "Create", "Create", "Create", "Write", "Write", "Generate", "Design", "Construct", "Make", "Build",
         "Develop", "Compose", "Produce")  # fmt: skip
_PAGE = ("an HTML page", "an HTML page", "an HTML page", "a HTML page", "a HTML page", "a web page", "a webpage",
         "an HTML document", "an HTML webpage", "a HTML web page", "a simple HTML page", "a basic HTML page",
         "a simple web page", "an HTML program", "an HTML file", "a basic webpage")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Task:
    """A task: the template of its values, its wordings, and the templates of its parts."""

    name: str
    weight: float
    values: str
    wordings: tuple[str, ...]
    parts: dict[str, str]


def read_tasks(file: Path) -> Iterator[Task]:
    """Yield the tasks of one file. Raises ValueError with the task's name for an unknown, repeated or missing part."""
    shared, *chunks = f"\n{file.read_text(encoding='utf-8')}".split("\n=== ")
    for chunk in chunks:
        heading, _, rest = chunk.partition("\n")
        name, _, weight = heading.strip().partition(" x")
        first, *others = ("\n" + rest).split("\n--- ")
        parts: dict[str, str] = {}
        for other in others:
            part, _, text = other.partition("\n")
            part = part.strip()
            if part in parts or part not in ("ask", *PARTS):
                raise ValueError(f"{file.name}: {name}: part {part!r} is unknown or repeated")
            parts[part] = text.strip("\n")
        wordings = tuple(line.strip() for line in parts.pop("ask", "").splitlines() if line.strip())
        if not wordings or ("fragment" in parts) == ("title" in parts) or ("title" in parts) != ("body" in parts):
            raise ValueError(
                f"{file.name}: {name}: a task needs `ask`, and either `fragment` or both `title` and `body`"
            )
        yield Task(name, float(weight or 1), shared + first, wordings, parts)


@cache
def tasks() -> tuple[Task, ...]:
    """Return all tasks in the order of their files' names."""
    return tuple(task for file in sorted(FOLDER.glob("*.jinja")) for task in read_tasks(file))


@cache
def _compiled(task: Task) -> Template:
    asks = "".join(
        f"{{% {'elif' if number else 'if'} _wording == {number} %}}\n{wording}\n"
        for number, wording in enumerate(task.wordings)
    )
    parts = [task.values, asks + "{% endif %}", *(task.parts.get(part, "") for part in PARTS)]
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["words"] = lambda number: _WORDS[number] if number < len(_WORDS) else str(number)
    return environment.from_string(f"{_BETWEEN}\n".join(parts))


def everyday(r: Random) -> Draft:
    """Draw a task, its wording and its page."""
    known = tasks()
    (task,) = r.choices(known, [task.weight for task in known])
    return written(task, r)


@dataclass(frozen=True)
class Habits:
    """The layout habits of one writer, which are the same for a whole page."""

    unit: str
    language: str
    inner: bool
    """Whether head and body are indented inside html."""
    gap: str

    def document(self, head: Sequence[str], body: Sequence[str]) -> str:
        """Return a whole page of these lines of head and body, which are indented by two spaces per level."""
        shown = [*_wrapped("head", head), *([""] if self.gap else []), *_wrapped("body", body)]
        html = [f"<html{self.language}>", *(_deeper(shown) if self.inner else shown), "</html>"]
        return self.indented([DOCTYPE, *html])

    def indented(self, lines: Sequence[str]) -> str:
        """Return the lines, which are indented by two spaces per level, with this writer's indentation."""
        bare = [line.lstrip(" ") for line in lines]
        depths = [len(line) - len(text) for line, text in zip(lines, bare, strict=True)]
        done = (
            self.unit * (depth // 2) + " " * (depth % 2) + text.rstrip()
            for depth, text in zip(depths, bare, strict=True)
        )
        return "\n".join(done).strip("\n")


def draw_habits(r: Random, usual: float = 0.75) -> Habits:
    """Draw a writer's habits, which are the usual ones with the probability `usual`.

    The higher this probability, the more reliably the trained model closes a page's tags.
    """
    if chance(r, usual):
        return Habits(unit="  ", language=r.choice(("", "", "", ' lang="en"')), inner=False, gap="")
    return Habits(
        unit=r.choice(("  ", "  ", "    ", "    ", " ", "\t")),
        language=r.choice(("", "", "", ' lang="en"')),
        inner=chance(r, 0.6),
        gap="\n" if chance(r, 0.15) else "",
    )


def written(task: Task, r: Random) -> Draft:
    """Draw the wording, values and layout of a task. Raises jinja2's errors for a wrong template."""
    text = _compiled(task).render(_vocabulary(r), _wording=r.randrange(len(task.wordings)))
    _, ask, *rest = (part.strip("\n") for part in text.split(_BETWEEN))
    parts = {name: part.splitlines() for name, part in zip(PARTS, rest, strict=True)}
    habits = draw_habits(r)
    if "fragment" in task.parts:
        bare = [line for line in parts["fragment"] if line.strip().lower() != DOCTYPE.lower()]
        page = habits.indented([DOCTYPE, *bare])
    else:
        page = _page(r, habits, parts)
    # A page that is to be edited keeps its indentation.
    lines = parts["input"]
    markup = bool(lines) and lines[0].startswith("<")
    return Draft(" ".join(ask.split()), habits.indented(lines) if markup else "\n".join(lines).strip("\n"), page)


def _page(r: Random, habits: Habits, parts: dict[str, list[str]]) -> str:
    head = [f"<title>{' '.join(parts['title']).strip()}</title>"]
    if chance(r, 0.6 if habits.language else 0.1):
        more = [r.choice(('<meta charset="UTF-8">', '<meta charset="utf-8">'))]
        if chance(r, 0.6):
            more.append('<meta name="viewport" content="width=device-width, initial-scale=1.0">')
        head = [*head, *more] if chance(r, 0.3) else [*more, *head]
    if any(parts["style"]):
        head += _wrapped("style", parts["style"])
    body, script = parts["body"], parts["script"]
    if any(script):
        # A script that starts with a function runs later, so it may be in the head.
        early = script[0].startswith("function") and chance(r, 0.4)
        (head if early else body).extend(_wrapped("script", script))
    return habits.document(head, body)


def _wrapped(name: str, lines: Sequence[str]) -> list[str]:
    return [f"<{name}>", *_deeper(lines), f"</{name}>"]


def _deeper(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" if line.strip() else "" for line in lines]


def _vocabulary(r: Random) -> dict[str, Any]:
    """Return the functions and words that the templates may use. Draws depend on the state of `r` only."""

    def pick(*options: Any) -> Any:
        return r.choice(options)

    def some(count: int, *options: Any) -> list[Any]:
        return r.sample(options, min(count, len(options)))

    def first() -> str:
        return r.choice(("John", "Jane", "Mary", "Bob", "Alice", "Tom", "Sarah", "Mike", "David", "Emily", "James",
                         "Lisa", "Mark", "Emma", "Peter")) if chance(r, 0.7) else values.first_name(r)  # fmt: skip

    def last() -> str:
        return r.choice(("Doe", "Doe", "Smith", "Smith", "Johnson", "Brown", "Williams", "Jones", "Miller", "Davis",
                         "Lee", "Wilson")) if chance(r, 0.7) else r.choice(vocabulary.LAST_NAMES)  # fmt: skip

    def human() -> dict[str, Any]:
        name, surname = first(), last()
        host = r.choice(("example.com", "example.com", "example.com", "email.com", "gmail.com", "mail.com"))
        mail = r.choice((name, f"{name}.{surname}", f"{name}{surname}", f"{name[0]}{surname}")).lower()
        number = r.choice(("123-456-7890", f"555-{r.randrange(100, 1000)}-{r.randrange(1000, 10000)}",
                           f"({r.randrange(200, 1000)}) 555-{r.randrange(1000, 10000)}"))  # fmt: skip
        return {"first": name, "last": surname, "name": f"{name} {surname}", "age": r.randrange(18, 66),
                "email": f"{mail}@{host}", "phone": number, "city": city(), "country": country(), "job": job(),
                "gender": r.choice(("Male", "Female")), "salary": r.randrange(25, 150) * 1000}  # fmt: skip

    def people(count: int) -> list[dict[str, Any]]:
        by_name: dict[str, dict[str, Any]] = {}
        while len(by_name) < count:
            someone = human()
            by_name.setdefault(someone["first"], someone)
        return list(by_name.values())

    def city() -> str:
        return str(pick("New York", "New York", "London", "Paris", "Tokyo", "Los Angeles", "Chicago", "San Francisco",
                        "Berlin", "Sydney", "Toronto", "Mumbai", "Boston", "Seattle", "Madrid", "Rome"))  # fmt: skip

    def country() -> str:
        return str(pick("USA", "USA", "Canada", "UK", "France", "Germany", "India", "Japan", "Australia", "Brazil",
                        "Mexico", "China", "Spain", "Italy"))  # fmt: skip

    def job() -> str:
        return str(pick("Developer", "Engineer", "Software Engineer", "Designer", "Manager", "Teacher", "Doctor",
                        "Nurse", "Accountant", "Sales Manager", "Web Developer", "Analyst", "Writer"))  # fmt: skip

    def colour() -> str:
        return str(pick("red", "blue", "green", "yellow", "orange", "purple", "black", "white", "pink", "gray", "navy",
                        "lightblue", "lightgreen", "teal", "brown"))  # fmt: skip

    def code() -> str:
        return str(pick("#fff", "#f2f2f2", "#333", "#ccc", "#000", "#ddd", "#eee", "#f0f0f0", "#4CAF50", "#ff0000",
                        "#" + "".join(r.choice("0123456789abcdef") for _ in range(6))))  # fmt: skip

    draws: dict[str, Callable[..., Any]] = {
        "pick": pick,
        "some": some,
        "chance": lambda share: chance(r, share),
        "number": lambda low, high: r.randint(low, high),
        "shuffled": lambda options: r.sample(list(options), len(options)),
        "person": human,
        "people": people,
        "first": first,
        "last": last,
        "city": city,
        "country": country,
        "job": job,
        "colour": colour,
        "code": code,
        "font": lambda: pick("Arial, sans-serif", "Arial", "Arial, Helvetica, sans-serif", "sans-serif", "Verdana",
                             "Georgia, serif", "'Times New Roman', serif", "Helvetica", "monospace"),
        "size": lambda: f"{r.choice((10, 12, 14, 16, 18, 20, 24, 30, 32, 36, 40, 48))}px",
        "space": lambda: f"{r.choice((5, 8, 10, 10, 12, 15, 20, 20, 30, 50))}px",
        "greeting": lambda: pick("Hello World!", "Hello World!", "Hello, World!", "Hello World", "Hello, World",
                                 "Welcome to my website!", "Welcome to my website", "Welcome!", "Welcome"),
        "sentence": lambda: values.sentence(r),
        "paragraph": lambda: values.paragraph(r),
        "noun": lambda: values.noun(r),
        "title": lambda: values.title(r),
        "url": lambda: values.url(r),
        "date": lambda: values.date(r),
        "price": lambda: values.price(r),
        "lorem": lambda: pick(*_LOREM),
        "filler": lambda: pick("This is a paragraph.", "This is a paragraph of text.", "This is some text.",
                               "This is a sample paragraph.", "Some text here.", *_LOREM),
    }  # fmt: skip
    words = {"Make": r.choice(_MAKE), "a_page": r.choice(_PAGE)}
    return {**draws, **words, "make": words["Make"].lower(), "page": words["a_page"].partition(" ")[2]}


_LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit.",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore "
    "magna aliqua.",
    "Lorem ipsum dolor sit amet",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit. Ut enim ad minim veniam, quis nostrud exercitation "
    "ullamco laboris nisi ut aliquip ex ea commodo consequat.",
)


def check(file: Path, name: str = "", draws: int = 40) -> list[str]:
    """Draw `draws` pages of each task of the file, or of the task `name`, and return faults as texts.

    Faults are parse errors of pages and tasks with too few wordings. Raises jinja2's errors for a wrong template.
    """
    faults = []
    for task in read_tasks(file):
        if name and task.name != name:
            continue
        drafts = [written(task, Random(f"{task.name}/{seed}")) for seed in range(draws)]
        errors = {error for draft in drafts for error in parse_errors(draft.page)}
        faults += [f"{task.name}: {error}" for error in sorted(errors)]
        if len(task.wordings) < MIN_WORDINGS:
            faults.append(f"{task.name}: too few wordings")
    return faults


def main() -> None:
    """Parse the command line, print example pages of the task, and print the faults of the file."""
    file, name = (*sys.argv[1:], "")[:2]
    for task in read_tasks(Path(file)):
        if task.name == name:
            for seed in range(3):
                draft = written(task, Random(seed))
                print(f"### {draft.instruction}\n{draft.input}\n---\n{draft.page}\n")
    print("\n".join(check(Path(file), name)) or "no faults")


if __name__ == "__main__":
    main()
