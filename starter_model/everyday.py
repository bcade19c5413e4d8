"""Everyday tasks: requests as people word them, which leave the page to the writer.

The other kinds have one right answer each. These have many: the files in `everyday_tasks/` give tasks as Jinja
templates, with several wordings and a page whose values, styles and habits of writing are drawn anew every time.

    {% set wide = chance(0.3) %}            what stands before the first task is drawn for each of them
    === login form x2                       a task; it is drawn twice as often as others
    {% set name = person() %}               values that all parts share
    --- ask                                 one wording a line, one of them is drawn
    {{ Make }} {{ a_page }} with a login form.
    --- input                               what comes with the request; may be left out
    --- title                               then style, body and script: the parts of a whole page
    --- fragment                            or instead of them the answer as it stands, without a page around it

`python -m starter_model.everyday FILE [TASK]` checks the pages of a file and shows some.
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
"""Every answer begins with it, a mere part of a page too: without it nothing is valid."""
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
    """One task of the files: its values' template, its wordings, and the templates of its parts."""

    name: str
    weight: float
    values: str
    wordings: tuple[str, ...]
    parts: dict[str, str]


def read_tasks(file: Path) -> Iterator[Task]:
    """The tasks of one file. Raises ValueError, naming the task, for a part that is unknown, twice there or missing."""
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
                raise ValueError(f"{file.name}: {name}: part {part!r} is unknown or there twice")
            parts[part] = text.strip("\n")
        wordings = tuple(line.strip() for line in parts.pop("ask", "").splitlines() if line.strip())
        if not wordings or ("fragment" in parts) == ("title" in parts) or ("title" in parts) != ("body" in parts):
            raise ValueError(f"{file.name}: {name}: needs ask, and either a fragment or a title and a body")
        yield Task(name, float(weight or 1), shared + first, wordings, parts)


@cache
def tasks() -> tuple[Task, ...]:
    """All tasks of the folder, in the order of their files' names."""
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
    """One drawn task, worded and written as one person would."""
    known = tasks()
    (task,) = r.choices(known, [one.weight for one in known])
    return written(task, r)


@dataclass(frozen=True)
class Habits:
    """How one person writes pages, whatever is on them."""

    unit: str
    language: str
    inner: bool
    """Whether head and body are indented inside html."""
    gap: str

    def document(self, head: Sequence[str], body: Sequence[str]) -> str:
        """The lines of head and body, both written with two spaces a level, as a whole page."""
        shown = [*_wrapped("head", head), *([""] if self.gap else []), *_wrapped("body", body)]
        html = [f"<html{self.language}>", *(_deeper(shown) if self.inner else shown), "</html>"]
        return self.indented([DOCTYPE, *html])

    def indented(self, lines: Sequence[str]) -> str:
        """The lines, written with two spaces a level, with this person's indentation instead."""
        bare = [line.lstrip(" ") for line in lines]
        depths = [len(line) - len(text) for line, text in zip(lines, bare, strict=True)]
        done = (
            self.unit * (depth // 2) + " " * (depth % 2) + text.rstrip()
            for depth, text in zip(depths, bare, strict=True)
        )
        return "\n".join(done).strip("\n")


def draw_habits(r: Random, usual: float = 0.75) -> Habits:
    """The habits of somebody, which are the usual ones in that share of draws: the more often, the surer the model is
    where a page's tags end."""
    if chance(r, usual):
        return Habits(unit="  ", language=r.choice(("", "", "", ' lang="en"')), inner=False, gap="")
    return Habits(
        unit=r.choice(("  ", "  ", "    ", "    ", " ", "\t")),
        language=r.choice(("", "", "", ' lang="en"')),
        inner=chance(r, 0.6),
        gap="\n" if chance(r, 0.15) else "",
    )


def written(task: Task, r: Random) -> Draft:
    """This task with drawn wording, values and habits. Raises jinja2's errors for a template that is wrong."""
    text = _compiled(task).render(_vocabulary(r), _wording=r.randrange(len(task.wordings)))
    _, ask, *rest = (part.strip("\n") for part in text.split(_BETWEEN))
    parts = {name: part.splitlines() for name, part in zip(PARTS, rest, strict=True)}
    habits = draw_habits(r)
    if "fragment" in task.parts:
        bare = [line for line in parts["fragment"] if line.strip().lower() != DOCTYPE.lower()]
        page = habits.indented([DOCTYPE, *bare])
    else:
        page = _page(r, habits, parts)
    given = parts["input"]
    # a page that is to be changed keeps its indentation
    markup = bool(given) and given[0].startswith("<")
    return Draft(" ".join(ask.split()), habits.indented(given) if markup else "\n".join(given).strip("\n"), page)


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
        # what begins with a function runs later, so it may stand anywhere
        early = script[0].startswith("function") and chance(r, 0.4)
        (head if early else body).extend(_wrapped("script", script))
    return habits.document(head, body)


def _wrapped(name: str, lines: Sequence[str]) -> list[str]:
    return [f"<{name}>", *_deeper(lines), f"</{name}>"]


def _deeper(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" if line.strip() else "" for line in lines]


def _vocabulary(r: Random) -> dict[str, Any]:
    """What the templates may call: draws of values, the same for the same state of `r`."""

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
        found: dict[str, dict[str, Any]] = {}
        while len(found) < count:
            one = human()
            found.setdefault(one["first"], one)
        return list(found.values())

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
    """Draw each task of the file, or the one of that name, and say what is wrong: invalid pages, and few wordings.

    Raises jinja2's errors for a template that is wrong.
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
    """Read the command line, show some drafts, and say what is wrong with the file."""
    file, name = (*sys.argv[1:], "")[:2]
    for task in read_tasks(Path(file)):
        if task.name == name:
            for seed in range(3):
                draft = written(task, Random(seed))
                print(f"### {draft.instruction}\n{draft.input}\n---\n{draft.page}\n")
    print("\n".join(check(Path(file), name)) or "nothing is wrong")


if __name__ == "__main__":
    main()
