"""The synthetic stand-in for Spanish-English sentences: Spanish and English number words.

Learnable for the right reason: both languages compose the words of a number from its digits, so
numbers never seen are translated by rule. Spelling is the course's: lowercase, without accents.
"""

import numpy as np

SIZES = (2_000, 300, 300)
LIMIT = 999_999  # the largest number
MAX_CHARACTERS = 49

# Words by digit or number; "-" where no word is needed.
SPANISH_SMALL, SPANISH_TENS, SPANISH_HUNDREDS = map(
    str.split,
    (
        "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
        "dieciseis diecisiete dieciocho diecinueve veinte veintiuno veintidos veintitres "
        "veinticuatro veinticinco veintiseis veintisiete veintiocho veintinueve",
        "- - - treinta cuarenta cincuenta sesenta setenta ochenta noventa",
        "- ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos "
        "ochocientos novecientos",
    ),
)
ENGLISH_SMALL, ENGLISH_TENS = map(
    str.split,
    (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen",
        "- - twenty thirty forty fifty sixty seventy eighty ninety",
    ),
)


def spanish(number: int) -> str:
    """Return the Spanish words of a number from 0 to 999,999, without accents."""
    if number >= 1_000:
        thousands, rest = divmod(number, 1_000)
        count = "" if thousands == 1 else spanish(thousands)
        if count.endswith("uno"):  # veintiun mil, treinta y un mil
            count = count.removesuffix("o")
        return _join(count, "mil", spanish(rest) if rest else "")
    if number == 100:
        return "cien"
    if number > 100:
        hundreds, rest = divmod(number, 100)
        return _join(SPANISH_HUNDREDS[hundreds], spanish(rest) if rest else "")
    if number < len(SPANISH_SMALL):
        return SPANISH_SMALL[number]
    tens, ones = divmod(number, 10)
    return _join(SPANISH_TENS[tens], f"y {SPANISH_SMALL[ones]}" if ones else "")


def english(number: int) -> str:
    """Return the English words of a number from 0 to 999,999: no "and", no hyphen."""
    for unit, name in ((1_000, "thousand"), (100, "hundred")):
        if number >= unit:
            count, rest = divmod(number, unit)
            return _join(english(count), name, english(rest) if rest else "")
    if number < len(ENGLISH_SMALL):
        return ENGLISH_SMALL[number]
    tens, ones = divmod(number, 10)
    return _join(ENGLISH_TENS[tens], ENGLISH_SMALL[ones] if ones else "")


def generate(seed: int = 42) -> list[list[tuple[str, str]]]:
    """Return train, val and test as pairs (spanish, english), each side under 50 characters.

    Small numbers are as frequent as large ones (uniform in the logarithm), and no number is in
    two splits.
    """
    rng = np.random.default_rng(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < sum(SIZES):
        number = int((LIMIT + 2) ** rng.random()) - 1
        pair = spanish(number), english(number)
        if max(map(len, pair)) <= MAX_CHARACTERS:
            pairs[pair[0]] = pair[1]
    items = list(pairs.items())
    # The rare small numbers come first: without this, no split but train would hold any.
    mixed = [items[i] for i in rng.permutation(len(items))]
    ends = np.cumsum(SIZES)
    return [mixed[end - size : end] for end, size in zip(ends, SIZES, strict=True)]


def _join(*parts: str) -> str:
    return " ".join(filter(None, parts))
