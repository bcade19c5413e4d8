"""Small tokenizers of the kinds that public models have, each with the control tokens of one chat template."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.trainers import Trainer
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).parent / "chat_templates"

_TEXTS = [
    "Create a page with a list of three fruits, a table, and a link to the shop.",
    "<!DOCTYPE html>\n<html>\n<body>\n<h1>Title</h1>\n<p>Was <s>10</s> now <b>8</b></p>\n</body>\n</html>",
    "<|some_token|> </s> Mr jumping quick brown fox over lazy dogs, vexed zebras: 0123456789 / = + - ( ) '",
    "system user assistant model You are a helpful assistant. [INST] ### Instruction: ### Response: think",
] * 3


@dataclass(frozen=True)
class Chat:
    """A chat template of the fixtures, and the control tokens that its tokenizer has."""

    template: str
    tokens: tuple[str, ...]
    bos: str | None
    eos: str
    turn_end: str
    system: bool = True
    rstrip: bool = False
    """Whether control tokens take the whitespace behind them, as those of Phi-3 do."""

    @property
    def text(self) -> str:
        return (TEMPLATES / f"{self.template}.jinja").read_text()


CHATS = {
    chat.template: chat
    for chat in (
        Chat("chatml", ("<|im_start|>", "<|im_end|>", "<|endoftext|>"), None, "<|endoftext|>", "<|im_end|>"),
        Chat("brackets", ("<s>", "</s>"), "<s>", "</s>", "</s>"),
        Chat(
            "headers",
            ("<|begin|>", "<|end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            "<|begin|>",
            "<|end|>",
            "<|eot_id|>",
        ),
        Chat(
            "turns",
            ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
            "<bos>",
            "<eos>",
            "<end_of_turn>",
            system=False,
        ),
        Chat(
            "instructions",
            ("<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
            "<s>",
            "</s>",
            "</s>",
        ),
        Chat(
            "generation",
            ("<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"),
            "<s>",
            "</s>",
            "</s>",
            rstrip=True,
        ),
        Chat("thinking", ("<|im_start|>", "<|im_end|>", "<|endoftext|>"), None, "<|im_end|>", "<|im_end|>"),
    )
}


def byte_level_bpe(chat: Chat) -> PreTrainedTokenizerFast:
    """As GPT-2, Llama 3 and Qwen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(tokenizer, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet), chat)


def sentencepiece_bpe(chat: Chat) -> PreTrainedTokenizerFast:
    """As Llama 2, Mistral and Gemma: a space becomes an underline, and one is put in front of each text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _trained(tokenizer, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"]), chat)


def unigram(chat: Chat) -> PreTrainedTokenizerFast:
    """As T5 and XLNet: sentencepiece's other kind of model."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=["<unk>"], unk_token="<unk>")
    return _trained(tokenizer, trainer, chat)


KINDS: dict[str, Callable[[Chat], PreTrainedTokenizerFast]] = {
    kind.__name__: kind for kind in (byte_level_bpe, sentencepiece_bpe, unigram)
}


def _trained(tokenizer: Tokenizer, trainer: Trainer, chat: Chat) -> PreTrainedTokenizerFast:
    tokenizer.train_from_iterator(_TEXTS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, rstrip=chat.rstrip) for token in chat.tokens])
    if chat.bos:  # and an end that many tokenizers put behind every text
        ids = [(token, tokenizer.token_to_id(token)) for token in (chat.bos, chat.eos)]
        tokenizer.post_processor = processors.TemplateProcessing(f"{chat.bos} $A {chat.eos}", None, ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=chat.bos, eos_token=chat.eos, chat_template=chat.text
    )
