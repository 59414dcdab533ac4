"""Vocabularies: a byte-level BPE tokenizer learnt from the training texts, so that any text can be written with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from inference_server.families.tokens import plain

VOCABULARY = 8192
"""At most; a small dataset gives fewer."""

_CHARACTERS = 50_000_000  # merges of more text come out the same, only later


def learn_tokenizer(texts: Iterable[str], specials: Sequence[str], template: str) -> Tokenizer:
    """A tokenizer whose tokens 0, 1, ... are `specials`; `template` says where they stand around a text, `$A`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_first(texts), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(name, number) for number, name in enumerate(specials)]
    )
    return plain(tokenizer)


def _first(texts: Iterable[str]) -> Iterator[str]:
    left = _CHARACTERS
    for text in texts:
        if left <= 0:
            return
        yield text[:left]
        left -= len(text)
