"""What an encoder reads and a search writes, as an application gives and gets it.

export.Symbols(["<pad>", "<start>", "<end>", "<unknown>", "h", "ə", "l"])
export.Image(224, 224)
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import numpy as np

from export.runtime import ModelError, _alike, _characters, _composed, _look

MOST_TOKENS = 12  # of a random text
PAD = 0  # of every source


@dataclass(frozen=True)
class Text:
    """Texts, which reach the encoder as ``source`` int32 (N, S), padded with 0 at the end.

    Args:
        tokens: a string for every id, specials included; 0 is padding.
        start, end: ids that no text spells, whatever their strings; None where there is none.
        unknown: id of what the list does not hold; None where the model has none: such a token
            is then an error in the runtimes of this package, and padding in the file itself.

    Raises:
        ModelError: repeated or blank tokens, or a special outside of the list.
    """

    tokens: Sequence[str]
    start: int | None = 1
    end: int | None = 2
    unknown: int | None = 3
    kind: ClassVar[str]
    joined_by: ClassVar[str] = " "

    def __post_init__(self) -> None:
        name = type(self).__name__
        object.__setattr__(self, "tokens", listed(name, self.tokens))
        ids = {"start": self.start, "end": self.end, "unknown": self.unknown}
        check_tokens(name, self.tokens, {"pad": PAD} | ids, " " if self.joined_by else "")
        for special, i in ids.items():
            object.__setattr__(self, special, None if i is None else int(i))
        if self.unknown == PAD:
            raise ModelError(f"unknown is {PAD}, which is padding: expected another id, or None")

    @property
    def spelled(self) -> dict[str, int]:
        """The ids of the tokens that a text can spell."""
        specials = {PAD, self.start, self.end, self.unknown}
        return {token: i for i, token in enumerate(self.tokens) if i not in specials}

    def random(self, count: int, rng: np.random.Generator) -> list[str]:
        """So many texts of one to twelve random tokens."""
        tokens = [token for token in self.spelled if token.strip()]
        texts = (rng.choice(tokens, rng.integers(1, MOST_TOKENS + 1)) for _ in range(count))
        return [self.joined_by.join(text) for text in texts]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """What reaches the encoder: ids int32 (N, S) of texts, read as the runtime reads them."""
        unknown, ids_of = PAD if self.unknown is None else self.unknown, self.spelled
        alike = _alike(list(ids_of))
        rows = [
            [ids_of.get(t, ids_of.get(alike.get(_look(t)), unknown)) for t in self.split(text)]
            for text in texts
        ]
        ids = np.full((len(rows), max(map(len, rows))), PAD, np.int32)
        for row, found in zip(ids, rows, strict=True):
            row[: len(found)] = found
        return ids

    def split(self, text: str) -> list[str]:
        """The tokens of a text, known or not."""
        return _composed(text).split()

    def checked(self, texts: Sequence[str]) -> list[str]:
        """The texts as a list.

        Raises:
            ModelError: no text, something else, a blank one, or one that holds a token of the list
                whose id is that of a special, which no text spells.
        """
        found = [texts] if isinstance(texts, str) else list(texts)
        if bad := [text for text in found if not isinstance(text, str) or not text.strip()]:
            raise ModelError(f"sources hold {bad[0]!r}: expected texts that are not blank")
        if not found:
            raise ModelError("sources hold nothing: expected one text at least")
        specials = {"unknown": self.unknown, "end": self.end, "start": self.start, "pad": PAD}
        named = {self.tokens[i]: name for name, i in specials.items() if i is not None}
        for token in (token for text in found for token in self.split(text)):
            if token in named and token not in self.spelled:
                raise ModelError(f"sources hold {token!r}, {self._advice(named[token])}")
        return found

    def _advice(self, special: str) -> str:
        if special != "pad":
            return f"which the list has as {special!r}: give {special}=None, or its id"
        return (
            "which the list has as padding, 0: put a string for padding before the list, and let "
            "the encoder take ids less 1"
        )


@dataclass(frozen=True)
class Symbols(Text):
    """Symbols with white space between them, such as phonemes. Arguments as for ``Text``."""

    kind: ClassVar[str] = "speller"


@dataclass(frozen=True)
class Words(Text):
    """Sentences of words with white space between them. Arguments as for ``Text``."""

    kind: ClassVar[str] = "words"


@dataclass(frozen=True)
class Characters(Text):
    """Sentences by characters of one code point each (NFC). Arguments as for ``Text``."""

    kind: ClassVar[str] = "translator"
    joined_by: ClassVar[str] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for token in self.spelled:
            if unicodedata.category(token[0]).startswith("M"):
                raise ModelError(
                    f"Characters holds the mark U+{ord(token[0]):04X}, which belongs to the letter "
                    "before it: use Symbols, with spaces between them"
                )

    def split(self, text: str) -> list[str]:
        return _characters(_composed(text))


@dataclass(frozen=True)
class Image:
    """Pictures of any size, which reach the encoder as uint8 (N, height, width, 3).

    Raises:
        ModelError: a size that is no whole number, or below 1.
    """

    height: int
    width: int
    kind: ClassVar[str] = "captioner"

    def __post_init__(self) -> None:
        for size in (self.height, self.width):
            if not isinstance(size, Integral) or size < 1:
                raise ModelError(
                    f"Image({self.height!r}, {self.width!r}): expected pixels, 1 or more"
                )

    def random(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """So many images of coarse noise."""
        coarse = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
        rows = np.arange(self.height) * 4 // self.height
        columns = np.arange(self.width) * 4 // self.width
        return coarse[:, rows][:, :, columns]

    def encode(self, images: np.ndarray) -> np.ndarray:
        """What reaches the encoder, images of this size."""
        return images

    def checked(self, images: np.ndarray) -> np.ndarray:
        """The images, uint8 (N, height, width, 3).

        Raises:
            ModelError: other shapes or dtypes, or none at all.
        """
        images, shape = np.asarray(images), (self.height, self.width, 3)
        if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
            raise ModelError(
                f"sources are {images.dtype} {images.shape}: expected raw pixels, uint8 (N, "
                f"{self.height}, {self.width}, 3)"
            )
        return images


@dataclass(frozen=True)
class Array:
    """Numbers as they are: a prompt, an initial state, features.

    Args:
        shape: of one example, None for a free axis. Default: that of the encoder's input, which
            a plain function does not tell.
        dtype: e.g. "int32". Default: that of the encoder's input.

    Raises:
        ModelError: sizes that are no whole numbers, or below 1.
    """

    shape: tuple[int | None, ...] | None = None
    dtype: str | None = None
    kind: ClassVar[str] = "array"

    def __post_init__(self) -> None:
        shape = () if self.shape is None else self.shape
        sizes = shape if isinstance(shape, tuple | list) else [shape, 0]
        if not all(size is None or (isinstance(size, Integral) and size > 0) for size in sizes):
            raise ModelError(
                f"Array({shape!r}): expected a size or None for each axis, as (None, 8)"
            )

    def random(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Normal numbers, or whole numbers of 0 and 1; free axes get the size 5."""
        shape = (count, *(5 if size is None else size for size in self.shape))
        if np.issubdtype(self.dtype, np.floating):
            return rng.normal(size=shape).astype(self.dtype)
        return rng.integers(0, 2, shape).astype(self.dtype)

    def encode(self, arrays: np.ndarray) -> np.ndarray:
        """What reaches the encoder, the arrays themselves."""
        return arrays

    def checked(self, arrays: np.ndarray) -> np.ndarray:
        """The arrays in the source's dtype.

        Raises:
            ModelError: another shape or kind of numbers, or none at all.
        """
        arrays = np.asarray(arrays)
        sizes = zip(arrays.shape[1:], self.shape, strict=False)
        fits = arrays.ndim == 1 + len(self.shape) and all(b in (None, a) for a, b in sizes)
        if not fits or not len(arrays) or not np.can_cast(arrays.dtype, self.dtype, "same_kind"):
            raise ModelError(
                f"sources are {arrays.dtype} {arrays.shape}: expected {self.dtype} "
                f"{('N', *self.shape)}"
            )
        return arrays.astype(self.dtype)


@dataclass(frozen=True)
class Target:
    """The vocabulary of what a search writes.

    Args:
        tokens: a string for every id of the logits, specials included.
        separator: what stands between two tokens of a text, "" or " ".
        start, end: ids of the token before the first and of the one after the last.
        pad: id that ended texts go on with; None where there is none.

    Raises:
        ModelError: repeated or blank tokens, or a special outside of the list.
    """

    tokens: Sequence[str]
    separator: str = ""
    start: int = 1
    end: int = 2
    pad: int | None = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", listed("vocabulary", self.tokens))
        for name in ("start", "end"):
            if getattr(self, name) is None:
                raise ModelError(f"{name} is None: expected the id of a token")
        ids = {"start": self.start, "end": self.end, "pad": self.pad}
        check_tokens("vocabulary", self.tokens, ids, self.separator)
        if self.separator not in ("", " "):
            raise ModelError(f"separator {self.separator!r}: expected '' or ' '")
        for special, i in ids.items():
            object.__setattr__(self, special, None if i is None else int(i))
        if self.filler == self.end:
            if self.pad is None:
                raise ModelError(
                    f"start and end are both {self.end}: expected a pad, for texts that have ended"
                )
            raise ModelError(f"pad and end are both {self.end}: expected another pad, or None")

    @property
    def filler(self) -> int:
        """The id that ended texts go on with; it is not spelled."""
        return self.start if self.pad is None else self.pad

    @property
    def silent(self) -> set[int]:
        """Ids that are not spelled."""
        return {self.filler, self.start, self.end}

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids up to the first end."""
        spelled = []
        for i in map(int, ids):
            if i == self.end:
                break
            if i not in self.silent:
                spelled.append(self.tokens[i])
        return self.separator.join(spelled)


def is_unicode(text: str) -> bool:
    """False for text that no file can hold, half of a surrogate pair in it."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def listed(name: str, tokens: Sequence[str]) -> tuple[str, ...]:
    """The tokens as a tuple.

    Raises:
        ModelError: they are no list.
    """
    if not isinstance(tokens, Sequence | np.ndarray):
        raise ModelError(f"{name} is {tokens!r}: expected a list with a string for every id")
    return tuple(tokens)


def check_tokens(
    name: str, tokens: Sequence[str], specials: dict[str, int | None], separator: str
) -> None:
    """Raises ``ModelError`` for a list that does not say which id is which string."""
    for special, i in specials.items():
        if i is not None and (isinstance(i, bool) or not isinstance(i, Integral)):
            raise ModelError(f"{special} is {i!r}: expected the id of a token, a whole number")
        if i is not None and not 0 <= i < len(tokens):
            raise ModelError(
                f"{special} is {i}, the {name} holds {len(tokens)} strings: expected 0 to "
                f"{len(tokens) - 1}"
            )
    seen: dict[str, int] = {}
    for i, token in enumerate(tokens):
        if not isinstance(token, str):
            raise ModelError(f"{name}[{i}] is {token!r}: expected a string for every id")
        if not is_unicode(token):
            raise ModelError(f"{name}[{i}] is {token!r}: half of a surrogate pair is no character")
        if i in specials.values():
            continue
        blank = token == "" or (separator and token.split() != [token])
        if blank:
            raise ModelError(
                f"{name}[{i}] is {token!r}: expected a string"
                + (" without white space" if separator else " that is not empty")
            )
        if seen.setdefault(token, i) != i:
            raise ModelError(f"{name} holds {token!r} twice, as {seen[token]} and {i}")
