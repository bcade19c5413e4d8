"""Cleaned pages are valid and uniformly indented."""

import pytest

from pagewright.cli.experiment.cleaning import cleaned


@pytest.mark.parametrize(
    ("page", "clean"),
    [
        ("<p>One</p>\n", "<!DOCTYPE html>\n<p>One</p>"),
        ("<!doctype html>\n<p>One</p>", "<!doctype html>\n<p>One</p>"),
        (
            "<html>\n    <body>\n\n        <p>One</p>\n    </body>\n</html>",
            "<!DOCTYPE html>\n<html>\n<body>\n  <p>One</p>\n</body>\n</html>",
        ),
        ("<table><p>One</p></table>", None),
        ("<?php echo 1; ?>", None),
    ],
)
def test_a_clean_page_is_valid_and_indented_by_two_spaces(page: str, clean: str | None) -> None:
    assert cleaned(page) == clean
