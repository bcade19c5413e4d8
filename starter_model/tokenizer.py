"""Train the starter model's tokenizer, a byte-level BPE for HTML: `python -m starter_model.tokenizer`."""

from collections.abc import Iterable
from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from models.prompts.templates import build_prompt
from models.starter import FOLDER
from starter_model import vocabulary
from starter_model.rows import training_stream

VOCABULARY_SIZE = 4096
# Not <s> and </s>, because these are HTML tags that a page may contain.
BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"

# A space is never part of the following word, so a word has the same tokens in `named Anna` and in `<p>Anna</p>`, and
# the model can copy tokens. A tag, the start of an attribute, and a newline with its indentation may each be one token.
_PIECES = Regex(
    "|".join(
        [
            r"</?[A-Za-z][A-Za-z0-9]*>?",
            r" [a-z-]+=\"",
            r"\">",
            r"\r?\n[ \t]*",
            r"\p{L}+",
            r"\p{N}",
            r"[ \t]+",
            r"[^\s\p{L}\p{N}]",
        ]
    )
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of VOCABULARY_SIZE tokens that is trained on `texts`. It adds no special tokens to a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PIECES, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        padding_side="left",
    )


def corpus(rows: int = 60_000) -> Iterable[str]:
    """Yield the tokenizer's training texts: training rows, and words of HTML, CSS, scripts and English."""
    for row in islice(training_stream(0), rows):
        yield build_prompt(row.instruction, row.input)
        yield row.output
    markup = [f"<{name}>\n</{name}>\n" for name in vocabulary.TAGS] + [
        f'<p {name}="">' for name in vocabulary.ATTRIBUTES
    ]
    words = [*vocabulary.STYLE_WORDS, *vocabulary.SCRIPT_WORDS, *vocabulary.COMMON_WORDS, *vocabulary.NOUNS]
    for _ in range(400):
        yield "".join(markup)
        yield " ".join(words)
        yield " ".join(word.capitalize() for word in words)


if __name__ == "__main__":
    train_tokenizer(corpus()).save_pretrained(FOLDER)
