"""Pages are indented by their elements, and only whitespace changes."""

import pytest

from models.scoring.indenting import indented

PAGE = """<!DOCTYPE html>
<html>
<head>
  <title>One</title>
  <style>
    p {
      color: red;
    }
  </style>
</head>
<body>
  <ul>
    <li>One</li>
    <li><b>Two</b>
      <br>three
    </li>
  </ul>
  <script>
    function show(name) {
      if (name < 1) {
        alert("<p>");
      }
    }
  </script>
</body>
</html>"""


def test_an_indented_page_does_not_change() -> None:
    assert indented(PAGE) == PAGE


@pytest.mark.parametrize("unit", ["", " ", "    ", "\t"])
def test_other_indentation_and_blank_lines_are_replaced(unit: str) -> None:
    lines = [line.strip() for line in PAGE.splitlines()]
    other = "\n\n".join(unit * (number % 3) + line for number, line in enumerate(lines))
    assert indented(other) == PAGE


@pytest.mark.parametrize(
    ("page", "laid_out"),
    [
        ("", ""),
        ("<p>One", "<p>One"),
        ("</div>\n</div>\n<p>\nOne\n</p>", "</div>\n</div>\n<p>\n  One\n</p>"),
        ('<div\nclass="a">\n<p>One</p>\n</div>', '<div\nclass="a">\n<p>One</p>\n</div>'),
        ("<div title='>'>\n<!-- <p> -->\nOne\n</div>", "<div title='>'>\n  <!-- <p> -->\n  One\n</div>"),
        ("<style>p {\ncolor: red; }</style>\n<p>One</p>", "<style>p {\n    color: red; }</style>\n<p>One</p>"),
        ("<ul>\n<li>One</li></ul>\n<p>Two</p>", "<ul>\n  <li>One</li></ul>\n<p>Two</p>"),
    ],
)
def test_only_the_starts_of_lines_change(page: str, laid_out: str) -> None:
    assert indented(page) == laid_out
