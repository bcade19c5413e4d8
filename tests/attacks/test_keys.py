"""Guessing a key: the server's behaviour does not depend on how much of a guess is right."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from db.queries import api_keys
from db.session import Database
from db.tables.api_keys import ApiKey
from db.vocabulary import Role

HASH_LENGTH = 64


def test_only_the_hash_of_a_guess_reaches_the_database(
    database: Database, make_key: Callable[[Role], tuple[ApiKey, str]]
) -> None:
    key, secret = make_key(Role.USER)
    guesses = [
        secret,
        secret[:-1],
        secret[:-1] + "!",
        secret[:8] + "x" * 38,
        secret + "x",
        secret.upper(),
        "",
        "é\0%' OR 1",
    ]
    executed: list[tuple[str, Any]] = []

    def record(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement != "BEGIN":
            executed.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", record)
    with database.read() as session:
        authenticated = [api_keys.authenticate(session, guess) for guess in guesses]
    event.remove(database.engine, "before_cursor_execute", record)
    assert [key and key.id for key in authenticated] == [key.id] + [None] * (len(guesses) - 1)
    statements, parameters = zip(*executed, strict=True)
    assert len(statements) == len(guesses)
    assert len(set(statements)) == 1
    values = [list(given.values() if isinstance(given, dict) else given) for given in parameters]
    assert all(len(value) == 1 and len(value[0]) == HASH_LENGTH for value in values)
    hashes = [value[0] for value in values]
    # Similar guesses have different hashes, so a guesser can't control what the index compares.
    assert len({hash[:8] for hash in hashes}) == len(guesses)


@pytest.mark.parametrize("role", list(Role))
def test_a_key_is_too_long_to_guess(make_key: Callable[[Role], tuple[ApiKey, str]], role: Role) -> None:
    key, secret = make_key(role)
    shown = len(key.prefix)
    assert secret.startswith(key.prefix)
    assert (len(secret) - shown) * 6 >= 200, "bits that nobody is shown"
