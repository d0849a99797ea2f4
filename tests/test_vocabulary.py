"""Vocabularies: ids, round trips, and what happens to symbols that they do not know."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw2_keras.data.vocabulary import EOS, PAD, SOS, SPECIALS, UNK, Vocabulary
from hw2_keras.errors import UsageError

WORDS = Vocabulary.from_texts(["a part of ocean", "a part of a river"], " ")
LETTERS = Vocabulary.from_texts(["abba", "cab"], "")
NOT_BLANK = st.text(min_size=1).filter(str.strip)


def test_ids_follow_the_specials_in_order_of_first_appearance():
    assert WORDS.tokens == ("<pad>", "<sos>", "<eos>", "<unk>", "a", "part", "of", "ocean", "river")
    assert LETTERS.encode("cab") == [6, 4, 5]
    assert len(LETTERS) == 7


@settings(max_examples=50, deadline=None)
@given(st.lists(NOT_BLANK, min_size=1))
def test_characters_round_trip_without_unknown(texts):
    vocabulary = Vocabulary.from_texts(texts, "")
    for text in texts:
        ids = vocabulary.encode(text)
        assert UNK not in ids
        assert vocabulary.unknown(text) == []
        assert vocabulary.decode([SOS, *ids, EOS, 4, PAD]) == text


@settings(max_examples=50, deadline=None)
@given(st.lists(NOT_BLANK.filter(lambda text: not set(text.split()) & set(SPECIALS)), min_size=1))
def test_words_round_trip_up_to_white_space(texts):
    vocabulary = Vocabulary.from_texts(texts, " ")
    for text in texts:
        ids = vocabulary.encode(text)
        assert UNK not in ids
        assert vocabulary.decode([*ids, PAD, PAD]) == " ".join(text.split())


def test_tie_bars_and_combining_marks_stay_with_their_symbol():
    symbols = Vocabulary.from_texts(["t͡ʃ æ̃ n̩ t̪͆ bᵊ"], " ")
    assert len(symbols) == 4 + 5
    assert symbols.split("t͡ʃ n̩") == ["t͡ʃ", "n̩"]
    letters = Vocabulary.from_texts(["e\u0301te\u0301"], "")
    assert letters.tokens[4:] == ("e\u0301", "t")
    assert Vocabulary.from_texts(["été"], "").tokens[4:] == ("é", "t")


def test_unknown_symbols_become_unk_and_are_named_once():
    assert LETTERS.encode("axbx") == [4, UNK, 5, UNK]
    assert LETTERS.unknown("axbyx") == ["x", "y"]
    assert WORDS.encode("a green river") == [4, UNK, 8]


def test_a_text_that_spells_a_special_is_unknown():
    assert WORDS.encode("a <eos> river") == [4, UNK, 8]
    assert WORDS.unknown("a <eos> river") == ["<eos>"]
    captions = Vocabulary.from_texts(["a sea <#>"], " ", ("<#>", "<start_seq>", "<end_seq>", "?"))
    assert captions.tokens == ("<#>", "<start_seq>", "<end_seq>", "?", "a", "sea")


def test_decode_stops_at_the_first_eos_and_skips_padding():
    assert LETTERS.decode([PAD, SOS, 4, PAD, 5, EOS, 6, EOS]) == "ab"
    assert LETTERS.decode(np.array([EOS, 4])) == ""
    assert LETTERS.decode([4, UNK]) == "a<unk>"


def test_decode_refuses_ids_outside():
    with pytest.raises(UsageError, match="token id 7: expected 0 to 6"):
        LETTERS.decode([4, 7])
    with pytest.raises(UsageError, match="token id -1"):
        LETTERS.decode([-1])


def test_batches_are_padded_at_the_end():
    batch = LETTERS.encode_batch(["ab", "cabz"])
    assert batch.dtype == np.int32
    assert batch.tolist() == [[4, 5, 0, 0], [6, 4, 5, 3]]
    assert LETTERS.encode_batch(["ab"], max_length=3).tolist() == [[4, 5, 0]]


def test_batches_refuse_long_texts_and_nothing():
    with pytest.raises(UsageError, match="'cab' has 3 tokens, expected at most 2"):
        LETTERS.encode_batch(["a", "cab"], max_length=2)
    with pytest.raises(UsageError, match="no texts"):
        LETTERS.encode_batch([])


def test_one_long_text_among_many_is_no_huge_batch():
    with pytest.raises(UsageError, match=r"200,001 texts, the longest of 1,000 tokens, take"):
        LETTERS.encode_batch(["a"] * 200_000 + ["a" * 1_000])


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
@pytest.mark.parametrize("vocabulary", [WORDS, LETTERS])
def test_blank_texts_are_refused(vocabulary, text):
    for method in (vocabulary.encode, vocabulary.unknown, vocabulary.split):
        with pytest.raises(UsageError, match="blank text"):
            method(text)


def test_a_vocabulary_needs_texts_and_distinct_tokens():
    with pytest.raises(UsageError, match="no texts"):
        Vocabulary.from_texts([], "")
    with pytest.raises(UsageError, match="5 tokens, 4 different"):
        Vocabulary(("<pad>", "<sos>", "<eos>", "<unk>", "<unk>"), "")
    with pytest.raises(UsageError, match="separator ','"):
        Vocabulary(LETTERS.tokens, ",")


@settings(max_examples=50, deadline=None)
@given(st.lists(NOT_BLANK, min_size=1), st.sampled_from(["", " "]))
def test_saved_vocabularies_come_back_equal(tmp_path_factory, texts, separator):
    path = tmp_path_factory.mktemp("vocabulary") / "v.json"
    vocabulary = Vocabulary.from_texts(texts, separator)
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert Vocabulary.load(path).fingerprint == vocabulary.fingerprint


def test_fingerprints_differ_with_order_and_separator():
    other = Vocabulary.from_texts(["bab", "c"], "")
    assert set(other.tokens) == set(LETTERS.tokens)
    spaced = Vocabulary(LETTERS.tokens, " ")
    assert len({v.fingerprint for v in (LETTERS, other, spaced, WORDS)}) == 4


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"tokens": 3, "separator": ""}', '{"a": 1}'])
def test_damaged_vocabulary_files_are_refused(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"vocabulary\.json"):
        Vocabulary.load(path)
    with pytest.raises(UsageError, match=r"missing\.json"):
        Vocabulary.load(tmp_path / "missing.json")
