"""Texts that a parser or a metric could choke on, of up to 200,000 characters each; and soup of tags at random."""

import random

from hypothesis import strategies as st

SIZE = 200_000
TAGS = (
    "html head body title style script template p div span a b nobr font form button select option table tbody tr td "
    "caption colgroup col ul li dl dt dd pre textarea h1 br hr img svg math mi mtext annotation-xml foreignObject desc "
    "iframe object frameset frame noscript plaintext ruby rt rp"
)
OTHER = (
    "x| |\n|&amp;|&lt|&#0;|&#x41|&#128;|&bogus;|\0|\ud800|\udc00|\r|\r\n|<!--c-->|<!-->|<!DOCTYPE html>|<![CDATA[x]]>"
    "|<?x?>|</|<|<!|é|😀|\f|\ufeff|<p a=1 A=2 class='x y'>|<b/ ='>|<svg xlink:href=1>"
)


def _soup(tags: list[str]) -> st.SearchStrategy[str]:
    pieces = st.one_of(
        st.sampled_from(tags).map("<{}>".format),
        st.sampled_from(tags).map("<{} a=1>".format),
        st.sampled_from(tags).map("</{}>".format),
        st.sampled_from(OTHER.split("|")),
        st.text(max_size=3),
    )
    return st.lists(pieces, max_size=30).map("".join)


# few tags each time, so that they meet
soup = st.lists(st.sampled_from(TAGS.split()), min_size=2, max_size=6).flatmap(_soup)

_random = random.Random(0)
HOSTILE = {
    "deep": "<div>" * 40_000,
    "many paragraphs in a deep element": "<!DOCTYPE html>" + "<div>" * 200 + "<p></p>" * 28_000,
    "formatting that is opened again for each paragraph": "<p>".join(f"<font size={size}>" for size in range(480))
    + "<p>x" * 25_000,
    "attributes of one element": "<a " + " ".join(f"a{number}" for number in range(28_000)) + ">",
    "attributes of one element, over many tags": "".join(f"<html a{number}>" for number in range(15_000)),
    "the same attribute": "<a " + "a " * 99_000 + ">",
    "many attributes of many elements": ("<p " + " ".join(f"a{number}" for number in range(120)) + ">") * 350,
    "ampersands": "&" * SIZE,
    "ampersands in an attribute": '<p a="😀' + "&" * 190_000,
    "dashes in a comment": "<!--😀" + "- " * 95_000,
    "a number of many digits": "&#" + "9" * 190_000 + ";",
    "NULs": "\0" * SIZE,
    "unpaired surrogates": "\ud800" * SIZE,
    "elements beside each other": "<!DOCTYPE html><title>x</title>" + "<p>x" * 19_000,
    "texts that belong before a table": "<table>" + "<tr>x" * 18_000,
    "end tags of nothing": "<math>" * 200 + "</x>" * 40_000,
    "two thousand combs": "<div><p></p>" * 60 + "</div>" * 60 + "<ul><li></ul>" * 2_000,
    "one word": "<!DOCTYPE html><title>x</title>"
    + "".join(chr(_random.randrange(0x4E00, 0x9FFF)) for _ in range(49_000)),
    "words": "<!DOCTYPE html><title>x</title>" + " ".join(str(_random.randrange(100)) for _ in range(68_000)),
    "rare characters": "".join(chr(_random.randrange(0x10000, 0x11000)) for _ in range(SIZE)),
}
