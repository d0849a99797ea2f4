"""The synthetic stand-in for phonemes -> spelling: pseudo-words and a small English orthography.

Learnable for the right reason: `spell` is a function, but a phoneme's letters depend on its
neighbours, as in English: k is c, k, ck, q or x; a long vowel is written by a silent e, by two
letters or by an open syllable; consonants double after a short vowel.
"""

from collections.abc import Sequence

import numpy as np

SIZES = (2_000, 300, 300)

SHORT = {"æ": "a", "ɛ": "e", "ɪ": "i", "ɒ": "o", "ʌ": "u"}
LONG = {"e͡ɪ": "a", "iː": "e", "a͡ɪ": "i", "o͡ʊ": "o", "uː": "u"}
LONG_AT_END = {"e͡ɪ": "ay", "iː": "ee", "a͡ɪ": "y", "o͡ʊ": "ow", "uː": "ew"}
LONG_BEFORE_TWO = {"e͡ɪ": "ai", "iː": "ea", "a͡ɪ": "igh", "o͡ʊ": "oa", "uː": "oo"}
DIPHTHONGS = {"ɔ͡ɪ": "oi", "a͡ʊ": "ou"}
DIPHTHONGS_AT_END = {"ɔ͡ɪ": "oy", "a͡ʊ": "ow"}
VOWELS = (*SHORT, *LONG, *DIPHTHONGS)
FRONT = ("ɛ", "ɪ", "iː", "a͡ɪ")  # written with e, i or y, before which c and g are soft

LETTERS = {"ɹ": "r", "j": "y", "ʃ": "sh", "θ": "th"}  # other consonants are their own letter
DOUBLED = tuple("pbtdflmnɹz")  # between a short vowel and another vowel

# MORE_CODAS follow a short vowel only.
ONSETS, CODAS, MORE_CODAS = map(
    str.split,
    (
        "p b t d k ɡ f v s z ʃ θ t͡ʃ d͡ʒ m n l ɹ w j h "
        "k_w k_l k_ɹ p_l p_ɹ b_l b_ɹ t_ɹ d_ɹ f_l f_ɹ ɡ_l ɡ_ɹ s_k s_p s_t s_l",
        "p b t d k ɡ f v s z ʃ θ t͡ʃ d͡ʒ m n l",
        "ŋ ŋ_k m_p n_t n_d n_t͡ʃ n_d͡ʒ l_t l_d l_k s_t s_k k_s",
    ),
)


def spell(phonemes: Sequence[str]) -> str:
    """Return the spelling of a pseudo-word, given as the symbols that `generate` uses."""
    padded = ["", *phonemes, "", ""]
    return "".join(
        _vowel(*padded[i : i + 3])
        if padded[i] in VOWELS
        else _consonant(padded[i - 1], *padded[i : i + 3])
        for i in range(1, len(phonemes) + 1)
    )


def generate(seed: int = 42) -> list[list[tuple[str, str]]]:
    """Return train, val and test as pairs (phonemes separated by spaces, spelling).

    Words have one to three syllables; none is in two splits.
    """
    rng = np.random.default_rng(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < sum(SIZES):
        phonemes = _word(rng)
        pairs[" ".join(phonemes)] = spell(phonemes)
    items = list(pairs.items())
    ends = np.cumsum(SIZES)
    return [items[end - size : end] for end, size in zip(ends, SIZES, strict=True)]


def _word(rng: np.random.Generator) -> list[str]:
    syllables = rng.choice([1, 2, 3], p=[0.3, 0.5, 0.2])
    parts: list[str] = []
    for i in range(syllables):
        if i > 0 or rng.random() < 0.85:
            parts.append(str(rng.choice(ONSETS)))
        kind = (SHORT, SHORT, LONG, LONG, DIPHTHONGS)[rng.integers(5)]
        vowel = str(rng.choice(list(kind)))
        parts.append(vowel)
        last = i == syllables - 1
        if rng.random() < (0.8 if last else 0.2):
            codas = CODAS + MORE_CODAS if last and kind is SHORT else CODAS
            parts.append(str(rng.choice(codas)))
    return "_".join(parts).split("_")


def _vowel(vowel: str, after: str, then: str) -> str:
    if vowel in SHORT:
        return "y" if vowel == "ɪ" and not after else SHORT[vowel]
    if vowel in DIPHTHONGS:
        return DIPHTHONGS[vowel] if after else DIPHTHONGS_AT_END[vowel]
    if not after:
        return LONG_AT_END[vowel]
    return LONG_BEFORE_TWO[vowel] if then and then not in VOWELS else LONG[vowel]


def _consonant(before: str, consonant: str, after: str, then: str) -> str:
    """Spell a consonant by its neighbours; "" stands for the edge of the word."""
    short_before = before in SHORT
    between = short_before and after in VOWELS
    silent_e = "e" if before in LONG and not after else ""
    soft = after in FRONT
    match consonant:
        case "k" if after == "w":
            return "q"
        case "w" if before == "k":
            return "u"
        case "k" if after == "s" and not then:
            return "x"
        case "s" if before == "k" and not after:
            return ""
        case "k" if between or (short_before and not after):
            return "ck"
        case "k":
            return "k" + silent_e if soft or not after else "c"
        case "ɡ" if between:
            return "gg"
        case "ɡ":
            return "gu" + silent_e if soft or silent_e else "g"
        case "d͡ʒ" if not after:
            return "dge" if short_before else "ge"
        case "d͡ʒ":
            return "g" if soft else "j"
        case "t͡ʃ":
            return ("tch" if between or (short_before and not after) else "ch") + silent_e
        case "s" if between or (short_before and not after):
            return "ss"
        case "s" if before and (soft or silent_e):
            return "c" + silent_e
        case "s" if not after:
            return "se"
        case "ŋ":
            return "n" if after == "k" else "ng"
        case "v" if not after:
            return "ve"
        case "z" if silent_e:
            return "se"
        case "f" if not before and after in LONG:
            return "ph"
        case "f" | "l" | "z" if short_before and not after:
            return consonant * 2
    letters = LETTERS.get(consonant, consonant)
    return (letters * 2 if between and consonant in DOUBLED else letters) + silent_e
