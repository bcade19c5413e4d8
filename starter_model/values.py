# ruff: noqa: E501 - a wording that is wrapped is harder to read than a long line
"""Draw random values that a page copies from its instruction or its input."""

from collections.abc import Callable
from random import Random

from starter_model import vocabulary as v


def chance(r: Random, share: float) -> bool:
    """Return True with the probability `share`."""
    return r.random() < share


def made_up(r: Random) -> str:
    """A random lower-case word that is in no word list, so that a model can only copy it."""
    return "".join(r.choice(v.SYLLABLES) for _ in range(r.choice((1, 2, 2, 2, 3, 3))))


def noun(r: Random) -> str:
    """One lower-case noun, sometimes a made-up one."""
    return made_up(r) if chance(r, 0.15) else r.choice(v.NOUNS)


def _adjective(r: Random) -> str:
    return made_up(r) if chance(r, 0.07) else r.choice(v.ADJECTIVES)


def capital(text: str) -> str:
    """The text with its first letter in upper case and the rest as it was."""
    return text[:1].upper() + text[1:]


def person(r: Random) -> str:
    """A full name."""
    first = capital(made_up(r)) if chance(r, 0.1) else r.choice(v.FIRST_NAMES)
    last = capital(made_up(r)) if chance(r, 0.1) else r.choice(v.LAST_NAMES)
    return f"{first} {last}"


def first_name(r: Random) -> str:
    """A first name."""
    return capital(made_up(r)) if chance(r, 0.15) else r.choice(v.FIRST_NAMES)


def place(r: Random) -> str:
    """A city or a country."""
    return capital(made_up(r)) if chance(r, 0.15) else r.choice(v.PLACES)


def number(r: Random) -> str:
    """A whole number of one to five digits."""
    return str(r.randrange(10 ** r.choice((1, 2, 2, 3, 4, 5))))


def price(r: Random) -> str:
    """An amount of money in one of the usual notations."""
    amount = r.choice((f"{r.randrange(1, 900)}", f"{r.randrange(1, 200)}.{r.randrange(100):02d}"))
    return r.choice(("$", "$", "€", "£", "")) + amount


def date(r: Random) -> str:
    """A date in one of the usual notations."""
    day, month, year = r.randrange(1, 29), r.randrange(12), r.randrange(1950, 2040)
    return r.choice(
        (f"{day} {v.MONTHS[month]} {year}", f"{v.MONTHS[month]} {day}, {year}", f"{year}-{month + 1:02d}-{day:02d}")
    )


def clock(r: Random) -> str:
    """A time of day."""
    hour, minute = r.randrange(24), r.choice((0, 15, 30, 45, r.randrange(60)))
    return r.choice((f"{hour}:{minute:02d}", f"{hour % 12 + 1} {r.choice(('am', 'pm'))}"))


def phone(r: Random) -> str:
    """A telephone number."""
    return f"+{r.randrange(1, 99)} {r.randrange(100, 999)} {r.randrange(1000, 9999)}"


def colour(r: Random) -> str:
    """A CSS colour: a name or six hexadecimal digits."""
    if chance(r, 0.25):
        return "#" + "".join(r.choice("0123456789abcdef") for _ in range(6))
    return r.choice(v.COLOURS)


def site(r: Random) -> str:
    """The name of a host."""
    name = noun(r) + r.choice(("", "-" + noun(r), noun(r)))
    return f"{r.choice(('', '', 'www.'))}{name}.{r.choice(v.TLDS)}"


def url(r: Random) -> str:
    """A web address."""
    path = r.choice(
        ("", "", "/", f"/{noun(r)}", f"/{noun(r)}/{noun(r)}", f"/{noun(r)}.html", f"/{noun(r)}/{number(r)}")
    )
    return f"http{r.choice(('s', 's', 's', ''))}://{site(r)}{path}"


def link(r: Random) -> str:
    """A value of `href`: a web address, a relative path or an anchor."""
    if chance(r, 0.6):
        return url(r)
    return r.choice((f"{noun(r)}.html", f"/{noun(r)}", f"#{noun(r)}", f"{noun(r)}/index.html"))


def email(r: Random) -> str:
    """An e-mail address."""
    return f"{r.choice((noun(r), first_name(r).lower(), first_name(r).lower() + '.' + noun(r)))}@{site(r)}".replace(
        "www.", ""
    )


def file(r: Random, endings: tuple[str, ...]) -> str:
    """A file's path or address with one of the endings."""
    name = r.choice((noun(r), f"{noun(r)}-{noun(r)}", f"{noun(r)}_{noun(r)}", f"{noun(r)}{r.randrange(100)}"))
    folder = r.choice(("", "", "images/", "assets/", f"https://{site(r)}/", f"{noun(r)}/"))
    return f"{folder}{name}.{r.choice(endings)}"


def words(r: Random, low: int, high: int) -> str:
    """Between `low` and `high` words in no grammatical order."""
    pools: tuple[Callable[[Random], str], ...] = (noun, _adjective, made_up)
    return " ".join(r.choice(pools)(r) for _ in range(r.randint(low, high)))


def title(r: Random) -> str:
    """A short name for a page or a thing, mostly in title case."""
    pick = r.randrange(14)
    adjective, thing, other = _adjective(r), noun(r), noun(r)
    if pick == 0:
        return f"{r.choice(v.FIRST_NAMES)}'s {capital(thing)}"
    if pick == 1:
        return f"{capital(thing)} & {capital(other)}"
    if pick == 2:
        return f"{capital(thing)} {r.choice(('Guide', 'Report', 'Club', 'Notes', 'Shop', 'Week'))} {r.randrange(1990, 2040)}"
    if pick == 3:
        return f"Welcome to {r.choice((place(r), capital(adjective) + ' ' + capital(thing)))}"
    if pick == 4:
        return capital(f"{adjective} {thing} {r.choice(('for', 'in', 'and', 'of', 'with'))} {other}")
    if pick == 5:
        return words(r, 1, 4)
    if pick == 6:
        return f"The {capital(adjective)} {capital(thing)} of {place(r)}"
    if pick == 7:
        return f"{r.choice(('My', 'Our', 'Your'))} {r.choice((thing, capital(thing), adjective + ' ' + thing))}"
    if pick == 8:
        return capital(thing)
    if pick == 9:
        return r.choice((f"{thing} {other}".upper(), capital(words(r, 2, 5)) + r.choice(("!", "", "?"))))
    return f"{capital(adjective)} {capital(thing)}{r.choice(('', '', ' ' + capital(other)))}"


def sentence(r: Random) -> str:
    """One sentence. Some make no sense, so that a model learns to copy instead of to predict."""
    pick = r.randrange(12)
    if pick == 0:
        return capital(words(r, 3, 9)) + r.choice((".", ".", "!", ""))
    if pick == 1:
        return f"{person(r)} {r.choice(v.VERBS)} the {_adjective(r)} {noun(r)} in {place(r)}."
    if pick == 2:
        return f"{r.choice(('We', 'They', 'You'))} can {r.choice(('see', 'find', 'buy', 'read', 'share'))} {number(r)} {r.choice(v.PLURALS)} here."
    if pick == 3:
        return f"Our {r.choice(v.PLURALS)} love {r.choice(v.PLURALS)}, {r.choice(v.PLURALS)} and {noun(r)}."
    if pick == 4:
        return f"Since {r.randrange(1800, 2030)} the {noun(r)} {r.choice(v.VERBS)} a {_adjective(r)} {noun(r)}."
    if pick == 5:
        return f"{r.choice(('Hello', 'Welcome', 'Good morning', 'Hi', 'Thanks'))}{r.choice((', ' + first_name(r), ' to ' + place(r), ' from the ' + noun(r)))}{r.choice('.!')}"
    if pick == 6:
        return f"This is {r.choice(('my', 'our', 'a', 'the'))} {_adjective(r)} {noun(r)}{r.choice(('.', '!', ''))}"
    if pick == 7:
        return f"It costs {price(r)} and {r.choice(v.VERBS)} every {r.choice(v.DAYS)} at {clock(r)}."
    if pick == 8:
        return f"Isn't the {noun(r)} {_adjective(r)}? It's {noun(r)} time!"
    clause = f"the {_adjective(r)} {noun(r)} {r.choice(v.VERBS)} {r.choice(('a', 'the', 'its', 'every'))} {noun(r)}"
    tail = r.choice(("", f" near {place(r)}", f" for {r.choice(v.PLURALS)}", f" because {noun(r)} {r.choice(v.VERBS)}"))
    return f"{capital(clause)}{tail}."


def paragraph(r: Random) -> str:
    """One to three sentences."""
    return " ".join(sentence(r) for _ in range(r.choice((1, 1, 1, 2, 2, 3))))


def topic(r: Random) -> str:
    """A topic of a page, in lower case."""
    return f"{_adjective(r)} {noun(r)}" if chance(r, 0.3) else r.choice(v.TOPICS)


ITEM_STYLES: tuple[Callable[[Random], str], ...] = (
    noun,
    lambda r: capital(noun(r)),
    lambda r: f"{capital(_adjective(r))} {noun(r)}",
    lambda r: f"{_adjective(r)} {noun(r)}",
    person,
    first_name,
    place,
    made_up,
    number,
    lambda r: f"{r.randrange(1, 500)} {r.choice(v.UNITS)} {noun(r)}",
    lambda r: f"{r.choice(('Buy', 'Read', 'Clean', 'Open', 'Call', 'Mix', 'Wash', 'Add', 'Visit'))} the {noun(r)}",
    lambda r: r.choice(v.COLOURS),
    date,
    topic,
    lambda r: capital(topic(r)),
    lambda r: words(r, 1, 3),
)


def distinct(r: Random, count: int, draw: Callable[[Random], str]) -> list[str]:
    """Return `count` distinct values. A repeated draw is drawn again."""
    drawn: dict[str, None] = {}
    for _ in range(50 * count):
        if len(drawn) == count:
            break
        drawn[draw(r)] = None
    while len(drawn) < count:
        drawn[capital(made_up(r)) + str(len(drawn))] = None
    return list(drawn)


def items(r: Random, low: int = 2, high: int = 7) -> list[str]:
    """Return the entries of a list, all of one style or mixed."""
    style = r.choice(ITEM_STYLES)
    mixed = chance(r, 0.15)
    return distinct(r, r.randint(low, high), lambda q: (q.choice(ITEM_STYLES) if mixed else style)(q).replace(",", ""))


def cell(r: Random, column: str) -> str:
    """A table cell that fits a column of this name."""
    if column in ("Age", "Quantity", "Year", "Score", "Rank", "Points", "Wins", "Losses", "Weight", "Height", "Stock",
                  "Rating", "Population", "Grade", "ID", "Code", "Level", "Size", "Length"):  # fmt: skip
        return number(r)
    if column in ("Price", "Salary", "Amount", "Total"):
        return price(r)
    if column in ("Name", "Author", "Teacher"):
        return r.choice((person, first_name))(r)
    if column in ("City", "Country", "Capital"):
        return place(r)
    draws: dict[str, Callable[[Random], str]] = {"Email": email, "Phone": phone, "Date": date, "Time": clock}
    draw = draws.get(column, lambda q: q.choice((noun, title, made_up, lambda s: capital(noun(s))))(q))
    return draw(r).replace(",", "")
