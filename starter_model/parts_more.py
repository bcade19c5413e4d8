# ruff: noqa: E501 - a wording that is wrapped is harder to read than a long line
"""Interactive parts of a page: links, media, buttons, menus, forms."""

from random import Random

from starter_model import values, vocabulary
from starter_model.markup import block, line, raw, slug, tag
from starter_model.parts import Maker, Part
from starter_model.values import chance
from starter_model.wording import listing, loose, quote


def link(r: Random) -> Part:
    """One link, maybe to an e-mail address or a telephone number."""
    text = values.title(r)
    pick = r.randrange(8)
    target, shown = values.link(r), r.choice(("a link", "a hyperlink", "a link", "an anchor link", "an <a> link"))
    extra: dict[str, str | bool] = {}
    if pick == 0:
        address = values.email(r)
        target, shown = f"mailto:{address}", r.choice(("an email link", "a mailto link", "a link to send an email"))
    elif pick == 1:
        address = values.phone(r)
        target, shown = (
            f"tel:{address.replace(' ', '')}",
            r.choice(("a phone link", "a telephone link", "a link to call")),
        )
    else:
        address = target
    if pick == 2:
        shown, extra = (
            r.choice(("a link that opens in a new tab", "a link opening in a new window")),
            {"target": "_blank"},
        )
    to = (
        r.choice((" to ", " to ", " pointing to ", " that goes to ", " with the address ", " to the URL "))
        if pick > 1
        else r.choice((" to ", " for ", " with "))
    )
    named = r.choice(
        (" with the text ", " that says ", " labelled ", " saying ", " and the text ", " with text ", " named ")
    )
    phrase = shown + r.choice(
        (f"{to}{loose(r, address)}{named}{quote(r, text)}", f"{named}{quote(r, text)}{to}{loose(r, address)}")
    )
    fields = {"link text": text, r.choice(("url", "link", "href")): address}
    if pick < 2:
        fields = {"link text": text, ("email", "phone")[pick]: address}
    return Part(shown, phrase, [raw("p", line("a", text, href=target, **extra))], dict(fields), "Link")


def links(r: Random) -> Part:
    """A list of links."""
    names = values.distinct(r, r.randint(2, 5), lambda q: values.capital(values.noun(q)))
    targets = [values.url(r) for _ in names]
    noun = r.choice(("a list of links", "links", "a link list", "a list of hyperlinks"))
    pairs = list(zip(names, targets, strict=True))
    joined = r.choice(
        (
            ", ".join(f"{n} ({t})" for n, t in pairs),
            "; ".join(f"{n}: {t}" for n, t in pairs),
            ", ".join(f"{n} to {t}" for n, t in pairs),
        )
    )
    return Part(
        noun,
        noun + r.choice((": ", " with ", " for ")) + joined,
        block("ul", [raw("li", line("a", n, href=t)) for n, t in pairs]),
        {"links": [[n, t] for n, t in pairs]},
        "Links",
    )


def image(r: Random) -> Part:
    """One image, its alternative text, maybe its size or a caption."""
    source, alt = values.file(r, vocabulary.IMAGE_TYPES), r.choice((values.title, lambda q: values.words(q, 1, 4)))(r)
    noun = r.choice(("an image", "an image", "a picture", "a photo", "an <img>"))
    phrase = noun + r.choice((" from ", " ", " with the source ", " loaded from ", " with source ")) + loose(r, source)
    phrase += r.choice(
        (" with the alt text ", " and the alt text ", " with alt text ", " and alternative text ", ", alt text ")
    ) + quote(r, alt)
    pick = r.randrange(6)
    if pick == 0:
        width, height = r.randrange(40, 1000), r.randrange(40, 1000)
        size = r.choice(
            (
                f" that is {width} pixels wide and {height} pixels high",
                f" of {width}x{height} pixels",
                f" with width {width} and height {height}",
            )
        )
        return Part(
            noun + size,
            phrase + size,
            [tag("img", src=source, alt=alt, width=str(width), height=str(height))],
            {"image": source, "alt": alt},
            "Image",
        )
    if pick == 1:
        caption = values.sentence(r)
        lines = block("figure", [tag("img", src=source, alt=alt), line("figcaption", caption)])
        return Part(
            noun + " with a caption",
            f"{phrase} and the caption {quote(r, caption)}",
            lines,
            {"image": source, "alt": alt, "caption": caption},
            "Image",
        )
    return Part(
        noun,
        phrase,
        [tag("img", src=source, alt=alt)],
        {r.choice(("image", "src", "source")): source, "alt": alt},
        "Image",
    )


def gallery(r: Random) -> Part:
    """Several images side by side."""
    sources = values.distinct(r, r.randint(2, 5), lambda q: values.file(q, vocabulary.IMAGE_TYPES))
    names = values.distinct(r, len(sources), lambda q: values.capital(values.noun(q)))
    noun = r.choice(("an image gallery", "a photo gallery", "a gallery", "a gallery of images"))
    pairs = list(zip(sources, names, strict=True))
    joined = ", ".join(f"{source} ({name})" for source, name in pairs)
    return Part(
        noun,
        noun + r.choice((" with ", ": ", " of ", " showing ")) + joined,
        block("div", [tag("img", src=s, alt=n) for s, n in pairs], class_="gallery"),
        {"images": [[s, n] for s, n in pairs]},
        "Gallery",
    )


def media(r: Random) -> Part:
    """A video, a sound or a page inside the page."""
    pick = r.randrange(3)
    if pick == 0:
        source = values.file(r, ("mp4", "webm", "ogv"))
        noun = r.choice(("a video", "a video player", "an embedded video", "a video with controls"))
        return Part(
            noun,
            f"{noun}{r.choice((' from ', ' playing ', ' of the file ', ' '))}{loose(r, source)}",
            [tag("video", src=source, controls=True) + "</video>"],
            {"video": source},
            "Video",
        )
    if pick == 1:
        source = values.file(r, ("mp3", "ogg", "wav"))
        noun = r.choice(("an audio player", "an audio file", "a sound player", "an audio element"))
        return Part(
            noun,
            f"{noun}{r.choice((' for ', ' playing ', ' with the file '))}{loose(r, source)}",
            [tag("audio", src=source, controls=True) + "</audio>"],
            {"audio": source},
            "Audio",
        )
    address, name = (
        r.choice((values.url(r), "https://www.youtube.com/embed/" + values.made_up(r) + values.number(r))),
        values.title(r),
    )
    noun = r.choice(
        (
            "an iframe",
            "an embedded page",
            "an embedded frame",
            "a YouTube video" if "youtube" in address else "an iframe",
        )
    )
    return Part(noun, f"{noun}{r.choice((' showing ', ' of ', ' with the source '))}{loose(r, address)} {r.choice(('titled', 'with the title'))} {quote(r, name)}",
                [tag("iframe", src=address, title=name, width="560", height="315") + "</iframe>"], {"url": address, "frame title": name}, "Video" if "youtube" in address else "Frame")  # fmt: skip


def button(r: Random) -> Part:
    """A button without an action, or one that shows a message."""
    text = r.choice(vocabulary.BUTTON_WORDS) if chance(r, 0.5) else values.title(r)
    noun = r.choice(("a button", "a button", "a button element", "a clickable button"))
    named = (
        noun
        + r.choice((" that says ", " labelled ", " with the text ", " with the label ", " saying ", " named ", " "))
        + quote(r, text)
    )
    if chance(r, 0.4):
        return Part(
            noun,
            named,
            [line("button", text, type="button")],
            {r.choice(("button", "label", "button text")): text},
            "Button",
        )
    message = values.sentence(r)
    if '"' in message or "&" in message:
        message = values.words(r, 2, 5)
    effect = r.choice(
        (
            " that shows an alert ",
            " which alerts ",
            " that displays the alert ",
            " that pops up the message ",
            " that shows the message ",
            " that says hello in an alert with ",
        )
    )
    does = r.choice((" that shows an alert", " that displays a message when clicked", " which alerts a message"))
    return Part(noun + does, named + effect.replace("says hello in an alert with", "opens an alert with") + quote(r, message) + r.choice(("", " when clicked", " on click", " when it is clicked")),
                [line("button", text, type="button", onclick="showMessage()")], {"button": text, r.choice(("message", "alert")): message}, "Button",
                ["function showMessage() {", f'  alert("{message}");', "}"])  # fmt: skip


def menu(r: Random) -> Part:
    """A navigation bar."""
    names = values.distinct(
        r,
        r.randint(2, 7),
        lambda q: q.choice(vocabulary.MENU_WORDS) if chance(q, 0.75) else values.capital(values.noun(q)),
    )
    noun = r.choice(
        ("a navigation bar", "a navigation menu", "a nav bar", "a menu", "a nav menu", "a navbar", "a nav element")
    )
    if chance(r, 0.07):
        return Part(noun, noun, _menu(["Home", "About", "Contact"]), {}, "Navigation")
    of = r.choice(
        (
            " with the links ",
            " with links to ",
            " with ",
            ": ",
            " containing ",
            " linking to ",
            " with the items ",
            " for ",
        )
    )
    return Part(
        noun,
        noun + of + listing(r, names),
        _menu(names),
        {r.choice(("menu", "links", "nav")): list(names)},
        "Navigation",
    )


def _menu(names: list[str]) -> list[str]:
    return block("nav", block("ul", [raw("li", line("a", name, href=f"#{slug(name)}")) for name in names]))


def footer(r: Random) -> Part:
    """A footer with a text or a copyright line."""
    noun = r.choice(("a footer", "a footer", "a page footer", "a footer section"))
    if chance(r, 0.5):
        text = values.sentence(r)
        return Part(
            noun,
            noun + r.choice((" that says ", " with the text ", " saying ", ": ")) + quote(r, text),
            block("footer", [line("p", text)]),
            {"footer": text},
            "Page",
        )
    owner, year = r.choice((values.title, values.person))(r), str(r.randrange(1980, 2050))
    if "&" in owner:
        owner = values.person(r)
    noun = r.choice(("a copyright footer", "a footer with a copyright notice", "a footer with copyright"))
    return Part(
        noun,
        f"{noun} for {loose(r, owner)} {year}",
        block("footer", [f"<p>&copy; {year} {owner}</p>"]),
        {"owner": owner, "year": year},
        "Page",
    )


def card(r: Random) -> Part:
    """A card with a title, a text and maybe a picture, a price or a button."""
    name, text = values.title(r), values.sentence(r)
    noun = r.choice(("a card", "a product card", "a card component", "an info card"))
    fields, lines = {"title": name, "description": text}, [line("h2", name), line("p", text)]
    facts = [f"the title {quote(r, name)}", f"the {r.choice(('text', 'description'))} {quote(r, text)}"]
    if chance(r, 0.4):
        cost = values.price(r)
        fields["price"], lines = cost, [*lines, line("p", cost, class_="price")]
        facts.append(f"the price {cost}")
    if chance(r, 0.3):
        source = values.file(r, vocabulary.IMAGE_TYPES)
        fields["image"], lines = source, [tag("img", src=source, alt=name), *lines]
        facts.append(f"the image {source}")
    if chance(r, 0.4):
        label = r.choice(vocabulary.BUTTON_WORDS)
        fields["button"], lines = label, [*lines, line("button", label, type="button")]
        facts.append(f"{r.choice(('a button', 'the button'))} {quote(r, label)}")
    return Part(
        noun,
        f"{noun} with {', '.join(facts[:-1])} and {facts[-1]}",
        block("div", lines, class_="card"),
        dict(fields),
        name,
    )


def select(r: Random) -> Part:
    """A drop-down list with a label."""
    label, options = values.capital(values.noun(r)), values.items(r, 2, 6)
    noun = r.choice(
        ("a dropdown", "a dropdown menu", "a select box", "a drop-down list", "a select element", "a dropdown list")
    )
    phrase = f"{noun} {r.choice(('labelled', 'with the label', 'for'))} {quote(r, label)} with the {r.choice(('options', 'options', 'choices'))} {listing(r, options)}"
    key = slug(label)
    lines = [
        line("label", label, for_=key),
        *block("select", [line("option", text) for text in options], id=key, name=key),
    ]
    return Part(noun, phrase, lines, {"label": label, "options": list(options)}, label)


def choices(r: Random) -> Part:
    """Radio buttons or checkboxes."""
    label, options = (
        values.capital(values.noun(r)),
        values.distinct(r, r.randint(2, 5), lambda q: values.capital(values.noun(q))),
    )
    kind = r.choice(("radio", "checkbox"))
    noun = r.choice(
        ("radio buttons", "a group of radio buttons", "a radio group")
        if kind == "radio"
        else ("checkboxes", "a group of checkboxes", "a set of checkboxes")
    )
    phrase = f"{noun} {r.choice(('for', 'labelled', 'with the legend'))} {quote(r, label)} with the {r.choice(('options', 'choices'))} {listing(r, options)}"
    key = slug(label)
    rows = [f"<label>{tag('input', type=kind, name=key, value=slug(text))} {text}</label>" for text in options]
    return Part(
        noun,
        phrase,
        block("fieldset", [line("legend", label), *rows]),
        {"label": label, "options": list(options)},
        label,
    )


_TYPES = {"email": "email", "phone": "tel", "age": "number", "website": "url", "birthday": "date", "date": "date", "time": "time",
          "password": "password", "quantity": "number", "price": "number", "number of guests": "number", "arrival date": "date",
          "delivery date": "date", "start time": "time", "rating": "number", "salary": "number", "height": "number",
          "weight": "number", "budget": "number"}  # fmt: skip
_LONG = frozenset({"message", "comments", "notes", "feedback", "biography", "suggestions"})


def form_lines(fields: list[str], button: str, action: str = "") -> list[str]:
    """Return the lines of a form: a label and a control for each field, typed by the field's name, then a button."""
    lines: list[str] = []
    for name in fields:
        key, shown = slug(name), values.capital(name)
        lines.append(line("label", f"{shown}:", for_=key))
        if name.lower() in _LONG:
            lines.append(raw("textarea", "", id=key, name=key, rows="4"))
        else:
            lines.append(tag("input", type=_TYPES.get(name.lower(), "text"), id=key, name=key))
    return block("form", [*lines, line("button", button, type="submit")], action=action or "#", method="post")


def form(r: Random) -> Part:
    """A form with the requested fields, and sometimes a custom button and target."""
    lower = chance(r, 0.6)
    draw = lambda q: q.choice(vocabulary.FIELD_NAMES) if chance(q, 0.85) else values.capital(values.noun(q))  # noqa: E731
    names = values.distinct(r, r.randint(1, 6), draw)
    shown_names = [name.lower() if lower else name for name in names]
    noun = r.choice(("a form", "an HTML form", "a form", "an input form", "a web form", "a simple form"))
    of = r.choice(
        (
            " with fields for ",
            " with the fields ",
            " with inputs for ",
            " asking for ",
            " that asks for ",
            " with ",
            " to collect ",
            " with input fields for ",
        )
    )
    phrase = noun + of + listing(r, shown_names)
    fields: dict[str, str | list[str] | list[list[str]]] = {"fields": list(shown_names)}
    text, action = "Submit", ""
    if chance(r, 0.5):
        text = r.choice(vocabulary.BUTTON_WORDS) if chance(r, 0.6) else values.title(r)
        phrase += r.choice(
            (" and a button that says ", " and a submit button labelled ", " and the button ", " and a button ")
        ) + quote(r, text)
        fields["button"] = text
    if chance(r, 0.2):
        action = values.link(r)
        phrase += r.choice((" that posts to ", " that is sent to ", " submitting to ", " with the action ")) + action
        fields["action"] = action
    return Part(noun, phrase, form_lines(shown_names, text, action), fields, "Form")


def textarea(r: Random) -> Part:
    """A box for a long text, with a label."""
    label, rows, hint = values.capital(values.noun(r)), str(r.randrange(2, 30)), values.words(r, 2, 5)
    noun = r.choice(("a textarea", "a text area", "a multi-line text box", "a text area field"))
    phrase = f"{noun} labelled {quote(r, label)} with {rows} rows and the placeholder {quote(r, hint)}"
    key = slug(label)
    lines = [line("label", label, for_=key), raw("textarea", "", id=key, name=key, rows=rows, placeholder=hint)]
    return Part(noun, phrase, lines, {"label": label, "rows": rows, "placeholder": hint}, label)


def meter(r: Random) -> Part:
    """A progress bar with a label."""
    label, value = values.capital(values.noun(r)), str(r.randrange(101))
    noun = r.choice(("a progress bar", "a progress element", "a progress indicator"))
    phrase = f"{noun} labelled {quote(r, label)} at {value}{r.choice((' percent', '%', ' of 100'))}"
    key = slug(label)
    lines = [line("label", label, for_=key), line("progress", f"{value}%", id=key, value=value, max="100")]
    return Part(noun, phrase, lines, {"label": label, "value": value}, label)


MORE_PARTS: dict[str, Maker] = {
    "link": link,
    "links": links,
    "image": image,
    "gallery": gallery,
    "media": media,
    "button": button,
    "menu": menu,
    "footer": footer,
    "card": card,
    "select": select,
    "choices": choices,
    "form": form,
    "textarea": textarea,
    "progress": meter,
}
