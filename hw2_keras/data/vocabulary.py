"""A vocabulary: the frozen mapping between text and token ids.

Ids 0 to 3 are PAD, SOS, EOS and UNK in every vocabulary; the other tokens follow in order of
first appearance in the training texts.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from hw2_keras.data.readers import MAX_ARRAY_BYTES, check_text, read_json, reading
from hw2_keras.data.sources import fingerprint
from hw2_keras.errors import UsageError
from hw2_keras.files import write_atomically

PAD, SOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<sos>", "<eos>", "<unk>")


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, and how a text falls into tokens.

    Args:
        tokens: all tokens; ``tokens[:4]`` name PAD, SOS, EOS and UNK.
        separator: " " when white space separates the tokens (words, phonetic symbols, which keep
            their tie bars and combining marks); "" when every character is one, a base
            character together with the combining marks that follow it.

    Raises:
        UsageError: fewer than four tokens, a token twice, or another separator.
    """

    tokens: tuple[str, ...]
    separator: str

    def __post_init__(self) -> None:
        if self.separator not in ("", " "):
            raise UsageError(f"separator {repr(self.separator)[:60]}: expected '' or ' '")
        if len(self.tokens) < len(SPECIALS) or len(set(self.tokens)) < len(self.tokens):
            raise UsageError(
                f"a vocabulary of {len(self.tokens)} tokens, {len(set(self.tokens))} different: "
                "expected four specials, then every other token once"
            )

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], separator: str, specials: tuple[str, ...] = SPECIALS
    ) -> Self:
        """Collect the tokens of the texts; ids in order of first appearance.

        A word that spells a special is no token: `encode` makes it UNK.

        Raises:
            UsageError: a blank text, or no text at all.
        """
        seen = dict.fromkeys(token for text in texts for token in _split(text, separator))
        if not seen:
            raise UsageError("a vocabulary of no texts: expected at least one training text")
        return cls((*specials, *(token for token in seen if token not in specials)), separator)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def _id_of(self) -> dict[str, int]:
        # Without the specials: a text that spells "<eos>" does not end the sequence.
        return {token: i for i, token in enumerate(self.tokens) if i >= len(SPECIALS)}

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) of tokens and separator."""
        return fingerprint(self._json())

    def split(self, text: str) -> list[str]:
        """Split a text into tokens, known or not.

        Raises:
            UsageError: the text is empty or only white space.
        """
        return _split(text, self.separator)

    def encode(self, text: str) -> list[int]:
        """Return the ids of the text's tokens, UNK for unknown ones; no SOS, no EOS.

        Raises:
            UsageError: the text is empty or only white space.
        """
        return [self._id_of.get(token, UNK) for token in self.split(text)]

    def unknown(self, text: str) -> list[str]:
        """Return the different tokens of the text that `encode` maps to UNK, in order."""
        return [token for token in dict.fromkeys(self.split(text)) if token not in self._id_of]

    def decode(self, ids: Iterable[int]) -> str:
        """Join the tokens of ids up to the first EOS, without PAD and SOS.

        The inverse of `encode` where nothing is unknown; with separator " " runs of white space
        come back as one space.

        Raises:
            UsageError: an id outside the vocabulary.
        """
        tokens = []
        for i in map(int, ids):
            if i == EOS:
                break
            if not 0 <= i < len(self.tokens):
                raise UsageError(f"token id {i}: expected 0 to {len(self.tokens) - 1}")
            if i not in (PAD, SOS):
                tokens.append(self.tokens[i])
        return self.separator.join(tokens)

    def encode_batch(self, texts: Sequence[str], max_length: int | None = None) -> np.ndarray:
        """Return the ids of all texts as int32 (N, T), padded with PAD at the end.

        Args:
            texts: N texts.
            max_length: T; default: the longest text's number of tokens.

        Raises:
            UsageError: no texts, a blank one, one longer than ``max_length``, or more than 512 MiB
                of ids: one long text among very many.
        """
        rows = [self.encode(text) for text in texts]
        if not rows:
            raise UsageError("a batch of no texts: expected at least one")
        longest = max(map(len, rows))
        length = longest if max_length is None else max_length
        if longest > length:
            text = texts[[len(row) for row in rows].index(longest)]
            raise UsageError(
                f"{text!r} has {longest} tokens, expected at most {length}: shorten the text"
            )
        if (size := 4 * len(rows) * length) > MAX_ARRAY_BYTES:
            raise UsageError(
                f"{len(rows):,} texts, the longest of {longest:,} tokens, take {size:,} bytes as "
                f"ids, expected at most {MAX_ARRAY_BYTES:,}: leave the longest texts out"
            )
        batch = np.full((len(rows), length), PAD, np.int32)
        for row, ids in zip(batch, rows, strict=True):
            row[: len(ids)] = ids
        return batch

    def save(self, path: Path | str) -> None:
        """Write the vocabulary as JSON."""
        write_atomically(Path(path), lambda file: file.write(self._json().encode()))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote.

        Raises:
            UsageError: the file cannot be read, or holds something else.
        """
        expected = "a vocabulary, JSON with tokens and separator"
        content = read_json(Path(path), expected)
        with reading(path, expected):
            tokens, separator = content["tokens"], content["separator"]
        if not isinstance(tokens, list):
            raise UsageError(f"{path}: tokens are not a list of strings; restore the file")
        return cls(tuple(check_text(token, f"{path}, tokens") for token in tokens), separator)

    def _json(self) -> str:
        content = {"separator": self.separator, "tokens": self.tokens}
        return json.dumps(content, ensure_ascii=False, indent=0) + "\n"


def _split(text: str, separator: str) -> list[str]:
    if not text.strip():
        raise UsageError(f"blank text {text!r}: expected at least one character")
    return text.split() if separator else _characters(text)


def _characters(text: str) -> list[str]:
    if text.isascii():
        return list(text)
    characters: list[str] = []
    for point in text:
        if characters and unicodedata.category(point).startswith("M"):
            characters[-1] += point
        else:
            characters.append(point)
    return characters
