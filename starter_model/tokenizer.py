"""The starter model's tokenizer: byte-level BPE that keeps HTML short and copied words whole."""

from collections.abc import Iterable
from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from models.prompts.template import build_prompt
from models.starter import FOLDER
from starter_model import vocabulary
from starter_model.triples import training_stream

VOCABULARY_SIZE = 4096
# Not <s> and </s>: those are HTML tags, and a page that uses them must survive.
BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"

# A space is never part of the word after it, so a word has the same tokens in `named Anna` and in `<p>Anna</p>`,
# and copying is repeating. Tags, the starts of attributes and a newline with its indentation may become one token.
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
    """A tokenizer of `VOCABULARY_SIZE` tokens learned from `texts`. It adds no special token by itself."""
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


def corpus(triples: int = 60_000) -> Iterable[str]:
    """What the tokenizer learns from: training triples, and words of HTML, CSS, scripts and English beside them."""
    for triple in islice(training_stream(0), triples):
        yield build_prompt(triple.instruction, triple.input)
        yield triple.output
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
