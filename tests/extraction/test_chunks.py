from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extraction.chunks import split
from kg.errors import UsageError
from kg.facts import Document
from kg.sentences import sentences


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "text",
    [
        "The film stars J. T. Walsh and Mr. Smith.",
        "It was made by D. A. Pennebaker and I. A. L. Diamond.",
        "It was shot by St. John in approx. 3.5 weeks.",
        "Martin Luther King Jr. Boulevard is in it.",
        "It grossed $3.5 million in the U.S. Navy towns.",
        "It is the No. 1 film of 1999.",
        "Moulin Rouge! is a film, and so is Airplane! too.",
        "It was made by Warner Bros. Pictures and e.g. Samuel L. Jackson.",
        'He said "Go!" and went.',
    ],
)
def test_stays_one_sentence(text: str) -> None:
    assert cut(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He acts. She sings.", ["He acts.", "She sings."]),
        ("It made $3.5 million. It won.", ["It made $3.5 million.", "It won."]),
        ("It ran in the U.S. The end.", ["It ran in the U.S.", "The end."]),
        ('He said "no." Then (quietly!) left.', ['He said "no."', "Then (quietly!) left."]),
        (
            "It stars Robert Downey Jr. The score is good.",
            ["It stars Robert Downey Jr.", "The score is good."],
        ),
        ("He said no. She left.", ["He said no.", "She left."]),
        ("# Alien\nAlien is a film\nof 1979.\n\nNext", ["# Alien", "Alien is a film\nof 1979.", "Next"]),
        ("Cast:\n- Tom\n- Sigourney", ["Cast:", "- Tom", "- Sigourney"]),
        ("映画です。面白い！", ["映画です。", "面白い！"]),
        ("Really?! Yes... No", ["Really?!", "Yes...", "No"]),
        ("It is from 1979. Alien is good.", ["It is from 1979.", "Alien is good."]),
    ],
)
def test_ends_sentences(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


texts = st.text(alphabet=st.sampled_from("ab. !?\n\t#-1JA…。\u00a0\u2003é\"')"), max_size=200) | st.text(
    max_size=80
)


@settings(max_examples=300, deadline=None)
@given(text=texts, max_characters=st.integers(1, 50))
def test_chunks_are_ordered_disjoint_bounded_and_cover_the_text(text: str, max_characters: int) -> None:
    chunks = split(Document.of(text, "a"), max_characters=max_characters)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    last = 0
    for chunk in chunks:
        assert text[last : chunk.start].strip() == ""
        assert 0 < chunk.end - chunk.start <= max_characters
        piece = text[chunk.start : chunk.end]
        assert piece == piece.strip()
        last = chunk.end
    assert text[last:].strip() == ""


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_a_chunk_never_ends_inside_a_sentence_that_fits(text: str) -> None:
    found = list(sentences(text))
    longest = max((end - start for start, end in found), default=1)
    ends = {end for _, end in found}
    chunks = split(Document.of(text, "a"), max_characters=longest)
    assert all(chunk.end in ends for chunk in chunks)


def test_sentences_are_packed_up_to_the_limit() -> None:
    text = "One two three. Four five six. Seven eight nine."
    pieces = [text[c.start : c.end] for c in split(Document.of(text, "a"), max_characters=30)]
    assert pieces == ["One two three. Four five six.", "Seven eight nine."]


def test_a_long_sentence_is_cut_at_white_space() -> None:
    text = "word " * 100
    chunks = split(Document.of(text, "a"), max_characters=52)
    assert {text[c.start : c.end].replace("word", "").strip() for c in chunks} == {""}
    assert all(c.end - c.start <= 52 for c in chunks)


def test_one_endless_word_is_still_bounded() -> None:
    chunks = split(Document.of("x" * 1001, "a"), max_characters=100)
    assert [c.end - c.start for c in chunks] == [100] * 10 + [1]


def test_no_chunk_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        split(Document.of("text", "a"), max_characters=0)


def test_two_megabytes_without_a_full_stop_take_no_time() -> None:
    text = "no stop here " * 150_000
    assert sum(c.end - c.start for c in split(Document.of(text, "a"))) > 1_900_000
