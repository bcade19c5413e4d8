"""Encodes rendered prompts so that special tokens come from the template alone: in users' text they are characters.

Before rendering, `escape` hides control tokens in users' text. `encode` then gives every control token that is still
visible, which is one of the template's, a private name, shows the hidden ones, and encodes the whole text at once with
a copy of the tokenizer that knows control tokens by their private names only.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

_ESCAPE = "\U0010f800"
_FIRST_CODE = 0x10F801
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""Tokens for the bytes of characters that the vocabulary lacks. The model finds them by these names."""


class ControlTokens:
    """The control tokens of a fast tokenizer, and texts as their ids.

    `ids` maps each control token, as text, to its id.
    """

    def __init__(self, tokenizer: Any, ids: Mapping[str, int]) -> None:
        self.ids = dict(ids)
        self._names = {content: f"\0{id}\0" for content, id in self.ids.items()}
        self._backend = _with_names(tokenizer.backend_tokenizer, self._names, self.ids)
        longest_first = sorted(self.ids, key=len, reverse=True)
        tokens = "|".join(map(re.escape, longest_first)) or "(?!)"
        self._visible = re.compile(tokens)
        hidden = sorted({content[0] for content in self.ids} | {_ESCAPE})
        self._codes = {character: chr(_FIRST_CODE + number) for number, character in enumerate(hidden)}
        self._characters = {code: character for character, code in self._codes.items()}
        # The first character of each control token, also of those that overlap, and the escape character itself.
        self._to_hide = re.compile(f"(?=(?:{tokens}))(.)|({_ESCAPE})", re.DOTALL)
        self._hidden = re.compile(f"{_ESCAPE}([{''.join(self._characters)}])")

    def escape(self, value: Any) -> Any:
        """Return a text, or the texts in JSON lists and objects, with every control token hidden."""
        if isinstance(value, str):
            text = value.replace("\0", "\N{REPLACEMENT CHARACTER}")  # private names have it
            return self._to_hide.sub(lambda match: _ESCAPE + self._codes[match[0]], text)
        if isinstance(value, Mapping):
            return {key: self.escape(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.escape(item) for item in value]
        return value

    def contains(self, text: str) -> str | None:
        """Return the first control token in the text, or None."""
        match = self._visible.search(text)
        return match[0] if match else None

    def encode(self, rendered: str) -> list[int]:
        """Return the ids of a text rendered from escaped texts. The tokenizer adds no tokens."""
        named = self._visible.sub(lambda match: self._names[match[0]], rendered)
        text = self.unescape(named)
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def unescape(self, text: str) -> str:
        """Return the text with hidden control tokens shown."""
        return self._hidden.sub(lambda match: self._characters[match[1]], text)

    def encode_after(self, rendered: str) -> list[int]:
        """Return the ids of a rendered text as it is in the middle of a prompt, without joining what is before it."""
        first = next(iter(self.ids), None)
        return self.encode(rendered) if first is None else self.encode(first + rendered)[1:]


_cache: "WeakKeyDictionary[Any, dict[frozenset[str], ControlTokens]]" = WeakKeyDictionary()


def control_tokens(tokenizer: PreTrainedTokenizerBase, others: Iterable[str] = ()) -> ControlTokens:
    """Return the control tokens of a fast tokenizer: special tokens, and `others` of its added tokens.

    The copy of the tokenizer is made once, and takes as long as loading it.
    """
    named = {*tokenizer.special_tokens_map.values(), *others}
    added = tokenizer.added_tokens_decoder.items()
    ids = {
        token.content: id
        for id, token in added
        if (token.special or token.content in named) and token.content and not _BYTE.fullmatch(token.content)
    }
    by_tokens = _cache.setdefault(tokenizer, {})
    key = frozenset(ids)
    if key not in by_tokens:
        by_tokens[key] = ControlTokens(tokenizer, ids)
    return by_tokens[key]


def _with_names(backend: Tokenizer, names: Mapping[str, str], ids: Mapping[str, int]) -> Tokenizer:
    """Return a copy of a tokenizer that knows tokens by other names, has no merge for them, and adds no tokens."""
    content = json.loads(backend.to_str())
    content.update(truncation=None, padding=None, post_processor=None)
    for token in content["added_tokens"]:
        if token["content"] in names:
            token.update(content=names[token["content"]], normalized=False)
    model = content["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(token, token): id for token, id in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(token, token), score] for token, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        merges = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        model["merges"] = [pair for pair in merges if not names.keys() & {*pair, "".join(pair)}]
    copy: Tokenizer = Tokenizer.from_str(json.dumps(content))
    for token, name in names.items():
        if copy.token_to_id(name) != ids[token]:
            raise ValueError(f"the tokenizer's token {token} has another id in a copy of the tokenizer")
    return copy
