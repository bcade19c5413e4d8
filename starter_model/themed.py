# ruff: noqa: E501 - a wording that is wrapped is harder to read than a long line
"""Pages with a purpose: profiles, events, recipes, layouts, pages about a topic."""

from random import Random

from starter_model import values, vocabulary, wording
from starter_model.composing import Draft, Kind
from starter_model.markup import block, line, page, raw, rule, tag
from starter_model.parts_more import form_lines
from starter_model.values import chance
from starter_model.wording import Fields, quote


def _fielded(r: Random, noun: str, fields: Fields, html: str) -> Draft:
    """A request for a page of fields, with the values in the `input` or in the instruction."""
    if chance(r, 0.6):
        return Draft(wording.use_input(r, wording.make(r, noun)), wording.as_input(r, fields), html)
    facts = []
    for label, value in fields.items():
        if isinstance(value, str):
            facts.append(f"{r.choice(('the ', ''))}{label} {quote(r, value)}")
        else:
            facts.append(f"{label} {wording.listing(r, [str(text) for text in value])}")
    joined = ", ".join(facts[:-1]) + " and " + facts[-1] if len(facts) > 1 else facts[0]
    return Draft(wording.make(r, f"{noun} {r.choice(('with', 'with', 'showing'))} {joined}"), "", html)


def _name(r: Random, label: str, *others: str) -> str:
    return r.choice((label, label, *others))


def profile(r: Random) -> Draft:
    """A person's page."""
    name, job = (
        values.person(r),
        f"{values.capital(values.noun(r))} {r.choice(('designer', 'engineer', 'teacher', 'painter', 'driver'))}",
    )
    fields: Fields = {"name": name, _name(r, "job", "occupation"): job}
    body = [line("h1", name), line("p", job, class_="job")]
    if chance(r, 0.6):
        text = values.sentence(r)
        fields["bio"] = text
        body.append(line("p", text))
    if chance(r, 0.6):
        skills = values.items(r, 2, 5)
        fields[_name(r, "skills", "hobbies")] = list(skills)
        key = "Skills" if "skills" in fields else "Hobbies"
        body += [line("h2", key), *block("ul", [line("li", text) for text in skills])]
    if chance(r, 0.6):
        address = values.email(r)
        fields["email"] = address
        body.append(raw("p", line("a", address, href=f"mailto:{address}")))
    noun = r.choice(
        (
            "a profile page",
            "a personal page",
            "a portfolio page",
            "a page about a person",
            "an about me page",
            "a personal profile",
        )
    )
    return _fielded(r, noun, fields, page(name, body))


def event(r: Random) -> Draft:
    """An invitation."""
    name, day, where = values.title(r), values.date(r), values.place(r)
    fields: Fields = {_name(r, "event", "name", "title"): name, "date": day, _name(r, "place", "location"): where}
    body = [line("h1", name), line("p", f"Date: {day}")]
    if chance(r, 0.5):
        hour = values.clock(r)
        fields["time"] = hour
        body.append(line("p", f"Time: {hour}"))
    body.append(line("p", f"Place: {where}"))
    noun = r.choice(
        ("an event page", "an invitation", "an invitation page", "a page for an event", "an event announcement")
    )
    return _fielded(r, noun, fields, page(name, body))


def recipe(r: Random) -> Draft:
    """Ingredients and steps."""
    name = values.title(r)
    needed = values.distinct(
        r, r.randint(2, 5), lambda q: f"{q.randrange(1, 500)} {q.choice(vocabulary.UNITS)} {values.noun(q)}"
    )
    steps = values.distinct(
        r,
        r.randint(2, 4),
        lambda q: f"{q.choice(('Mix', 'Chop', 'Boil', 'Bake', 'Stir', 'Add', 'Serve'))} the {values.noun(q)}",
    )
    body = [line("h1", name), line("h2", "Ingredients"), *block("ul", [line("li", text) for text in needed])]
    body += [line("h2", "Steps"), *block("ol", [line("li", text) for text in steps])]
    noun = r.choice(("a recipe page", "a recipe", "a cooking recipe page", "a page for a recipe"))
    return _fielded(
        r, noun, {_name(r, "name", "title"): name, "ingredients": list(needed), "steps": list(steps)}, page(name, body)
    )


def product(r: Random) -> Draft:
    """A product page."""
    name, cost, text = values.title(r), values.price(r), values.sentence(r)
    fields: Fields = {_name(r, "name", "product"): name, "price": cost, "description": text}
    body = [line("h1", name), line("p", text), line("p", f"Price: {cost}", class_="price")]
    if chance(r, 0.5):
        source = values.file(r, vocabulary.IMAGE_TYPES)
        fields["image"] = source
        body.insert(1, tag("img", src=source, alt=name))
    body.append(line("button", "Add to cart", type="button"))
    noun = r.choice(
        ("a product page", "a page for a product", "a product description page", "a shop page for a product")
    )
    return _fielded(r, noun, fields, page(name, body))


def questions(r: Random) -> Draft:
    """Frequently asked questions."""
    questions = values.distinct(
        r,
        r.randint(2, 4),
        lambda q: f"{q.choice(('What is', 'Where is', 'Who needs', 'How big is', 'When is'))} the {values.noun(q)}?",
    )
    answers = [values.sentence(r) for _ in questions]
    pairs = list(zip(questions, answers, strict=True))
    body = [line("h1", "FAQ")]
    for question, answer in pairs:
        body += block("details", [line("summary", question), line("p", answer)])
    noun = r.choice(
        ("an FAQ page", "a FAQ page", "a frequently asked questions page", "a page of questions and answers")
    )
    html = page("FAQ", body)
    if chance(r, 0.5):
        text = "\n".join(r.choice((f"Q: {q}\nA: {a}",)) for q, a in pairs)
        return Draft(wording.use_input(r, wording.make(r, noun)), text, html)
    return Draft(
        wording.make(r, f"{noun} with " + "; ".join(f"{quote(r, q)} answered by {quote(r, a)}" for q, a in pairs)),
        "",
        html,
    )


def contact(r: Random) -> Draft:
    """A common type of page with a form, such as a login page."""
    sort, fields, button, nouns = r.choice((
        ("Contact", ["name", "email", "message"], "Send", ("a contact form", "a contact page", "a contact us page", "a contact us form")),
        ("Login", ["username", "password"], "Log in", ("a login form", "a login page", "a sign-in page", "a log in form")),
        ("Sign up", ["name", "email", "password"], "Sign up", ("a sign-up form", "a registration form", "a signup page", "a registration page")),
        ("Newsletter", ["email"], "Subscribe", ("a newsletter form", "a newsletter signup form", "a subscription form")),
        ("Feedback", ["name", "rating", "feedback"], "Send", ("a feedback form", "a feedback page", "a survey form")),
    ))  # fmt: skip
    owner = values.title(r)
    body = [line("h1", f"{sort}: {owner}"), *form_lines(fields, button)]
    request = f"{r.choice(nouns)} for {quote(r, owner)}"
    if chance(r, 0.15):
        body, request, owner = [line("h1", sort), *form_lines(fields, button)], r.choice(nouns), ""
    return Draft(wording.make(r, request), "", page(f"{sort}: {owner}" if owner else sort, body))


def about(r: Random) -> Draft:
    """A page about a topic: everything on it follows from the topic."""
    topic = values.topic(r)
    title = values.capital(topic)
    body = [line("h1", title), line("p", f"Welcome to this page about {topic}."), line("h2", f"Why {topic}?"),
            line("p", f"There is always something new to learn about {topic}.")]  # fmt: skip
    noun = r.choice(
        (
            "a page about",
            "a web page about",
            "a website about",
            "an HTML page on",
            "a simple page about",
            "a blog about",
            "an article on",
            "a page on",
            "an HTML page about",
        )
    )
    return Draft(wording.make(r, f"{noun} {topic}"), "", page(title, body))


def columns(r: Random) -> Draft:
    """Columns side by side."""
    texts = values.distinct(r, r.randint(2, 4), r.choice((values.sentence, values.title)))
    count = ("two", "three", "four")[len(texts) - 2]
    shown = r.choice((count, str(len(texts))))
    noun = r.choice(
        (
            f"a page with {shown} columns",
            f"a {shown}-column layout",
            f"a layout with {shown} columns",
            f"{shown} columns side by side",
        )
    )
    style = [*rule(".row", display="flex", gap="16px"), *rule(".column", flex="1")]
    if chance(r, 0.15):
        texts = [f"Column {place}" for place in range(1, len(texts) + 1)]
        return Draft(wording.make(r, noun), "", _columns(texts, style))
    return _fielded(r, noun, {r.choice(("columns", "texts")): list(texts)}, _columns(texts, style))


def _columns(texts: list[str], style: list[str]) -> str:
    body = block(
        "div", [shown for text in texts for shown in block("div", [line("p", text)], class_="column")], class_="row"
    )
    return page("Columns", body, style)


def layout(r: Random) -> Draft:
    """Header, main and footer, maybe an aside."""
    title, text, end = values.title(r), values.paragraph(r), values.sentence(r)
    fields: Fields = {"header": title, "main": text}
    body = [*block("header", [line("h1", title)]), *block("main", [line("p", text)])]
    if chance(r, 0.4):
        aside = values.sentence(r)
        fields[_name(r, "sidebar", "aside")] = aside
        body += block("aside", [line("p", aside)])
    fields["footer"] = end
    body += block("footer", [line("p", end)])
    noun = r.choice(
        (
            "a semantic layout",
            "a page layout",
            "a page with semantic elements",
            "a semantic HTML5 page",
            "a page with header, main and footer",
        )
    )
    return _fielded(r, noun, fields, page(title, body))


def article(r: Random) -> Draft:
    """A post: title, author, date, text."""
    title, author, day, text = values.title(r), values.person(r), values.date(r), values.paragraph(r)
    body = block("article", [line("h1", title), line("p", f"By {author} on {day}"), line("p", text)])
    noun = r.choice(("a blog post", "a blog post page", "an article page", "a news article", "an article"))
    return _fielded(
        r, noun, {"title": title, "author": author, "date": day, _name(r, "text", "content"): text}, page(title, body)
    )


def metadata(r: Random) -> Draft:
    """A page whose head has a description, keywords or an author."""
    title, text = values.title(r), values.sentence(r)
    meta, fields = [], {"title": title, "text": text}
    if chance(r, 0.6):
        fields["description"] = values.words(r, 3, 8)
        meta.append(tag("meta", name="description", content=fields["description"]))
    if chance(r, 0.6):
        fields["keywords"] = ", ".join(values.items(r, 2, 4))
        meta.append(tag("meta", name="keywords", content=fields["keywords"]))
    if chance(r, 0.5) or not meta:
        fields["author"] = values.person(r)
        meta.append(tag("meta", name="author", content=fields["author"]))
    noun = r.choice(
        (
            "a page with meta tags",
            "a page with metadata",
            "an HTML page with meta tags in the head",
            "a page with SEO tags",
        )
    )
    return _fielded(r, noun, dict(fields), page(title, [line("h1", title), line("p", text)], meta=meta))


def skeleton(r: Random) -> Draft:
    """A page that has a title and little else."""
    title = values.title(r)
    noun = r.choice(
        (
            "an HTML skeleton",
            "a boilerplate",
            "an empty page",
            "a blank page",
            "an HTML5 boilerplate",
            "a basic HTML template",
            "a blank HTML document",
        )
    )
    named = r.choice((" titled ", " with the title ", " called ", " with title "))
    return Draft(wording.make(r, f"{noun}{named}{quote(r, title)}"), "", page(title, []))


def hello(r: Random) -> Draft:
    """A page that shows one text."""
    text = r.choice((values.sentence, values.title))(r)
    does = r.choice(
        (
            "that displays",
            "that says",
            "that shows",
            "which prints",
            "displaying",
            "that outputs",
            "to display",
            "which says",
        )
    )
    what = r.choice((wording.page_noun(r), "a program", "code", "a script"))
    if chance(r, 0.75):
        return Draft(f"{wording.verb(r)} {what} {does} {quote(r, text)}.", "", page("Text", [line("p", text)]))
    phrase = r.choice(("the given text", "the text below", "the input", "this text", "the following text"))
    return Draft(f"{wording.verb(r)} {what} {does} {phrase}.", text, page("Text", [line("p", text)]))


THEMED: dict[str, Kind] = {
    "profile": profile,
    "event": event,
    "recipe": recipe,
    "product": product,
    "questions": questions,
    "contact": contact,
    "about": about,
    "columns": columns,
    "layout": layout,
    "article": article,
    "metadata": metadata,
    "skeleton": skeleton,
    "hello": hello,
}
