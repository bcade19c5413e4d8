# ruff: noqa: E501 - a wording that is wrapped is harder to read than a long line
"""Word the requests: openings, quotations, lists, and the formats of values in the `input`."""

import json
from collections.abc import Callable, Sequence
from random import Random

from starter_model.values import capital, chance

Field = str | list[str] | list[list[str]]
Fields = dict[str, Field]

_VERBS = [
    "Create",
    "Make",
    "Build",
    "Write",
    "Generate",
    "Design",
    "Produce",
    "Develop",
    "Code",
    "Construct",
    "Put together",
    "Set up",
    "Compose",
    "Give me",
    "Show me",
    "I need",
    "I want",
    "I would like",
    "Please create",
    "Please write",
    "Please make",
    "Please generate",
    "Can you make",
    "Could you write",
    "Can you create",
    "Could you build",
    "Help me make",
    "Help me write",
    "We need",
    "Return",
    "Output",
    "Provide",
    "Craft",
    "Draft",
    "Prepare",
    "Create",
    "Create",
    "Write",
    "Generate",
    "Design",
    "Make",
    "Build",
    "Implement",
    "Formulate",
    "Assemble",
    "Let's build",
    "Now create",
    "Use HTML to create",
    "Using HTML, create",
    "Using HTML, write",
    "With HTML, make",
    "In HTML, create",
    "In HTML5, build",
    "Write HTML for",
    "Write the HTML for",
    "Write HTML code for",
    "Write code for",
    "Generate the HTML of",
    "Generate HTML code for",
    "Create the code for",
    "Write the code to create",
    "Write HTML code to create",
    "Generate code that makes",
    "Use HTML to make",
    "Your task is to create",
]
_PAGES = [
    "a web page",
    "a webpage",
    "an HTML page",
    "an HTML document",
    "a page",
    "a simple web page",
    "a simple HTML page",
    "a basic HTML page",
    "a basic web page",
    "a small web page",
    "a website",
    "a simple website",
    "a site",
    "a one-page website",
    "an HTML5 page",
    "a HTML page",
    "a static web page",
    "a static page",
    "a short HTML page",
    "an HTML file",
    "a complete HTML page",
    "a valid HTML page",
    "a new web page",
    "a clean HTML page",
    "a minimal web page",
    "a plain HTML page",
    "an HTML5 document",
    "a full HTML document",
    "a landing page",
]
_WITH = [
    "with",
    "with",
    "with",
    "that has",
    "that contains",
    "containing",
    "that shows",
    "which has",
    "including",
    "that includes",
    "having",
    "showing",
]
_CODE = ("", "", "", "", " in HTML", " in HTML", " using HTML", " with HTML", " in HTML5", " on a web page", " on a page",
         " on an HTML page", " using HTML and CSS", " as a web page", " for a website", " for my site")  # fmt: skip
_USE_INPUT = [
    "",
    "",
    "",
    "",
    "Use the input.",
    "Use the values below.",
    "Use the given values.",
    "The values are in the input.",
    "Use the following data.",
    "Use the information given.",
    "The details are below.",
    "Take the content from the input.",
    "Fill in the given data.",
    "The data is given as input.",
    "Use the details provided.",
]


def _closed(opening: str, text: str, r: Random) -> str:
    asks = opening.startswith(("Can", "Could"))
    return text + ("?" if asks else r.choice((".", ".", ".", ".", "")))


def page_with(r: Random, content: str) -> str:
    """ "Create a web page with {content}." in one of its wordings."""
    if chance(r, 0.08):
        return f"{capital(r.choice(_PAGES).split(' ', 1)[1])} with {content}{r.choice(('.', ''))}"
    verb = r.choice(_VERBS)
    return _closed(verb, f"{verb} {r.choice(_PAGES)} {r.choice(_WITH)} {content}", r)


def make(r: Random, content: str) -> str:
    """ "Create {content} in HTML." in one of its wordings."""
    verb = r.choice(_VERBS)
    code = "" if "HTML" in verb or "code" in verb else r.choice(_CODE)
    return _closed(verb, f"{verb} {content}{code}", r)


def page_noun(r: Random) -> str:
    """ "a web page" in one of its wordings."""
    return r.choice(_PAGES)


def verb(r: Random) -> str:
    """ "Create" in one of its wordings."""
    return r.choice(_VERBS)


def quote(r: Random, value: str) -> str:
    """The value in quotation marks of some kind that it does not hold itself."""
    marks = [("'", "'")] if '"' in value else [('"', '"')] * 6 + [("“", "”"), ("`", "`")]
    if "'" not in value and '"' not in value:
        marks += [("'", "'")] * 3
    left, right = r.choice(marks)
    return f"{left}{value}{right}"


def loose(r: Random, value: str) -> str:
    """The value, mostly bare: for colours, addresses and numbers, that need no marks."""
    return quote(r, value) if chance(r, 0.25) else value


def listing(r: Random, values: Sequence[str], quoted: bool | None = None) -> str:
    """ "a, b and c", every value quoted or none."""
    if quoted is None:
        quoted = chance(r, 0.4)
    mark = r.choice(('"', '"', "'")) if all("'" not in value and '"' not in value for value in values) else '"'
    shown = [f"{mark}{value}{mark}" if quoted else value for value in values]
    if len(shown) == 1:
        return shown[0]
    return ", ".join(shown[:-1]) + r.choice((" and ", " and ", ", and ", ", ")) + shown[-1]


def commas(values: Sequence[str]) -> str:
    """ "a, b, c"."""
    return ", ".join(values)


def as_input(r: Random, fields: Fields) -> str:
    """The fields written down in one of the ways that people use, a whole `input`."""
    if len(fields) == 1 and chance(r, 0.5):
        return _bare(r, next(iter(fields.values())))
    pick = r.randrange(8)
    if pick == 0:
        return json.dumps(fields, ensure_ascii=False, indent=r.choice((None, None, 2)))
    styles: dict[int, tuple[str, bool, Callable[[str], str]]] = {
        1: (" = ", True, str),
        2: (": ", False, capital),
        3: (": ", False, str),
        4: (": ", True, str),
        5: ("=", True, str),
        6: (" = ", False, str),
        7: (": ", False, str),
    }
    separator, quoted, name = styles[pick]
    bullet = r.choice(("- ", "* ")) if pick == 7 else ""
    lines = []
    for label, value in fields.items():
        lines.append(bullet + _field(r, name(label), separator, quoted, value))
    return "\n".join(lines)


def _field(r: Random, label: str, separator: str, quoted: bool, value: Field) -> str:
    if isinstance(value, str):
        return label + separator + (f'"{value}"' if quoted and '"' not in value else value)
    if any(isinstance(row, list) for row in value):
        return f"{label}{separator.rstrip()}\n{_bare(r, value)}"
    texts = [str(text) for text in value]
    if quoted:
        return label + separator + json.dumps(texts, ensure_ascii=False)
    if chance(r, 0.35) or any("," in text for text in texts):
        return f"{label}{separator.rstrip()}\n" + "\n".join(f"- {text}" for text in texts)
    return label + separator + commas(texts)


def _bare(r: Random, value: Field) -> str:
    if isinstance(value, str):
        return quote(r, value) if chance(r, 0.2) else value
    if any(isinstance(row, list) for row in value):
        comma = r.choice((",", ",", ", ", " | ", ";", "\t"))
        return "\n".join(comma.join(row) for row in value)
    texts = [str(text) for text in value]
    clear = "\n".join(texts) if any("," in text for text in texts) else commas(texts)
    return r.choice(
        (
            clear,
            clear,
            "\n".join(texts),
            "\n".join(f"- {text}" for text in texts),
            "\n".join(f"{place}. {text}" for place, text in enumerate(texts, 1)),
            json.dumps(texts, ensure_ascii=False),
            clear if any(";" in text for text in texts) else "; ".join(texts),
        )
    )


def then(request: str, sentence: str) -> str:
    """The request with a sentence after it: on its own line after a list of lines, else after a full stop."""
    if not sentence:
        return request
    if "\n" in request:
        return f"{request}\n{sentence}"
    return f"{request if request.endswith(('.', '?', '!')) else request + '.'} {sentence}"


def use_input(r: Random, request: str) -> str:
    """The request, that may go on to say where its values are."""
    return then(request, r.choice(_USE_INPUT))
