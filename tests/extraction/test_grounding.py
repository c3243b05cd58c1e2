"""Quotes, names and values are where they are said to be, or nowhere."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extraction.grounding import Passage, Quality, fold, is_name, refers_back, surfaces_of
from extraction.literals import dates_in, normalise, numbers_in, states

TEXT = (
    "Alien is a 1979 science fiction film directed by Ridley Scott and written by Dan O’Bannon.\n"
    "It was not directed by James Cameron — he made the sequel, “Aliens”, in 1986. "
    "The film stars Sigourney Weaver, Tom Skerritt\nand John Hurt. Dr. J. T. Walsh never appears in it."
)


@pytest.fixture
def passage() -> Passage:
    return Passage(TEXT, 0, len(TEXT))


@pytest.mark.parametrize(
    ("quote", "found", "quality"),
    [
        ("directed by Ridley Scott", "directed by Ridley Scott", Quality.EXACT),
        ("  written by Dan O’Bannon ", "written by Dan O’Bannon", Quality.EXACT),
        ("written by Dan O'Bannon", "written by Dan O’Bannon", Quality.FOLDED),
        ("ALIEN IS A 1979 Science Fiction film", "Alien is a 1979 science fiction film", Quality.FOLDED),
        ("Tom Skerritt and John Hurt", "Tom Skerritt\nand John Hurt", Quality.FOLDED),
        ('he made the sequel, "Aliens"', "he made the sequel, “Aliens", Quality.FOLDED),
        ("James Cameron - he made", "James Cameron — he made", Quality.FOLDED),
        ('"directed by Ridley Scott"', "directed by Ridley Scott", Quality.FOLDED),
        ("a 1979 … film directed by", "a 1979 science fiction film directed by", Quality.FUZZY),
        ("The film stars Sigourney Weaver, Tom Skerrit and John Hurt", None, None),
        ("stars Sigourney Weaver Tom Skerritt", "stars Sigourney Weaver, Tom Skerritt", Quality.FUZZY),
    ],
)  # fmt: skip
def test_a_quote_is_found_as_it_really_stands(
    passage: Passage, quote: str, found: str | None, quality: Quality | None
) -> None:
    alignment = passage.align(quote)
    if found is None:
        assert alignment is None
        return
    assert alignment is not None
    stands = TEXT[alignment.start : alignment.end]
    assert found in stands
    assert len(stands) <= len(found) + 1
    assert alignment.quality is quality


@pytest.mark.parametrize(
    "quote",
    [
        "",
        " … ",
        "by the of",
        "directed by Steven Spielberg",
        "It was directed by James Cameron",  # the text denies it
        "Walsh appears in it",
        "Alien is a 1978 science fiction film directed by Ridley Scott",
        "Alien is a 1979 science fiction film produced by Ridley Scott",
        "directed by Ridley Scott ... Alien is a 1979",  # the wrong way round
        "x" * 5000,
    ],
)
def test_a_quote_that_is_not_there_is_refused(passage: Passage, quote: str) -> None:
    assert passage.align(quote) is None


@pytest.mark.parametrize(
    ("text", "quote", "denied"),
    [
        ("It was not directed by Cameron.", "directed by Cameron", True),
        ("It has never been directed by Cameron.", "directed by Cameron", True),
        ("It wasn’t directed by Cameron.", "directed by Cameron", True),
        ("Not only directed by Cameron, it flopped.", "directed by Cameron", False),
        ("It was not liked, but directed by Cameron.", "directed by Cameron", False),
        ("It did not flop. It was directed by Cameron.", "directed by Cameron", False),
        ("It was directed by Cameron.", "It was directed by Cameron", False),
    ],
)
def test_a_negation_before_a_quote_denies_it(text: str, quote: str, denied: bool) -> None:
    passage = Passage(text, 0, len(text))
    found = passage.align(quote)
    assert found is not None
    assert passage.denies(found) is denied


def test_emphasis_in_markdown_is_looked_through() -> None:
    text = "**Alien** is a *1979* film by _Ridley Scott_."
    found = Passage(text, 0, len(text)).align("Alien is a 1979 film")
    assert found is not None
    assert (text[found.start : found.end], found.quality) == ("Alien** is a *1979* film", Quality.FOLDED)
    found = Passage(text, 0, len(text)).align("a 1979 film by Ridley Scott")
    assert found is not None
    assert "Ridley Scott" in text[found.start : found.end]


def test_a_passage_ends_at_its_bounds() -> None:
    low = TEXT.index("The film stars")
    passage = Passage(TEXT, low, len(TEXT))
    assert passage.align("directed by Ridley Scott") is None
    found = passage.align("stars Sigourney Weaver")
    assert found is not None
    assert TEXT[found.start : found.end] == "stars Sigourney Weaver"


def test_a_quote_is_grown_to_whole_words(passage: Passage) -> None:
    found = passage.align("rected by Ridley Sco")
    assert found is not None
    assert TEXT[found.start : found.end] == "directed by Ridley Scott"


@given(st.text(max_size=120), st.integers(0, 120), st.integers(1, 60))
def test_every_real_piece_is_found_and_every_find_is_real(text: str, start: int, length: int) -> None:
    passage = Passage(text, 0, len(text))
    quote = text[start : start + length].strip()
    found = passage.align(quote)
    if found is not None:
        assert 0 <= found.start < found.end <= len(text)
        assert fold(quote.strip("\"'“”‘’ ")) in fold(text[found.start : found.end])
    elif any(word.isalpha() and len(word) > 5 for word in quote.split() if word.isascii()):
        raise AssertionError(f"{quote!r} is in the text and was not found")


def test_made_up_quotes_of_the_same_words_are_refused() -> None:
    generator = random.Random(0)
    words = ["".join(generator.choices(string.ascii_lowercase, k=6)) for _ in range(60)]
    text = " ".join(words)
    passage = Passage(text, 0, len(text))
    for _ in range(200):
        shuffled = generator.sample(words, 8)
        assert passage.align(" ".join(shuffled)) is None


def test_names_are_whole_words_in_any_case_and_quote_marks(passage: Passage) -> None:
    assert [TEXT[a:b] for a, b in passage.find("alien")] == ["Alien"]
    assert [TEXT[a:b] for a, b in passage.find("Dan O'Bannon")] == ["Dan O’Bannon"]
    assert [TEXT[a:b] for a, b in passage.find("Tom Skerritt and")] == ["Tom Skerritt\nand"]
    assert list(passage.find("lien")) == []
    assert list(passage.find("...")) == []
    assert list(passage.find("Alien", 10, 60)) == []


def test_sentences_bound_a_span(passage: Passage) -> None:
    start = TEXT.index("J. T. Walsh")
    low, high = passage.sentences(start, start + 5)
    assert TEXT[low:high] == "Dr. J. T. Walsh never appears in it."


@pytest.mark.parametrize(
    ("surface", "named"),
    [("Alien", True), ("he", False), ("It", False), ("the film", False), ("The Thing", True),
     ("science fiction", True), ("The 39 steps", True), ("his wife", False), ("", False), ("!", False),
     ("The The", True)],
)  # fmt: skip
def test_what_can_be_a_name(surface: str, named: bool) -> None:
    assert is_name(surface) is named


def test_surfaces_come_once_with_the_name_first() -> None:
    assert surfaces_of("Ridley  Scott", ["Scott", "he", "Scott", "Ridley Scott"]) == ["Ridley Scott", "Scott"]


@pytest.mark.parametrize(
    ("sentence", "refers"),
    [("He directed it.", True), ("The film stars Weaver.", True), ("Alien stars Weaver.", False),
     ("The crew stars.", False)],
)  # fmt: skip
def test_a_sentence_may_refer_back(sentence: str, refers: bool) -> None:
    assert refers_back(sentence, "Film") is refers


@pytest.mark.parametrize(
    ("value", "datatype", "normal"),
    [
        (1979, "integer", 1979),
        ("1979", "integer", 1979),
        ("1,234", "integer", 1234),
        ("117 minutes", "integer", 117),
        ("1 hour 57 minutes", "integer", 117),
        ("2h", "integer", 120),
        (1979.0, "integer", 1979),
        (1.5, "integer", None),
        ("1979-1980", "integer", None),
        ("many", "integer", None),
        (True, "integer", None),
        ("$3.5 million", "number", 3_500_000.0),
        ("May 25, 1979", "date", "1979-05-25"),
        ("25th of May 1979", "date", "1979-05-25"),
        ("1979-05-25", "date", "1979-05-25"),
        ("Sept. 1979", "date", "1979-09"),
        (1979, "date", "1979"),
        ("soon", "date", None),
        ("3/4/1979", "date", None),
        ("13/4/1979", "date", "1979-04-13"),
        ("yes", "boolean", True),
        (False, "boolean", False),
        ("maybe", "boolean", None),
        ("  two\n words ", "string", "two words"),
        ("", "string", None),
    ],
)
def test_values_take_the_form_of_their_datatype(
    value: str | float, datatype: str, normal: str | float | None
) -> None:
    assert normalise(value, datatype) == normal


@pytest.mark.parametrize(
    ("text", "value", "datatype", "stated"),
    [
        ("a 1979 film", 1979, "integer", True),
        ("in the 1970s", 1970, "integer", False),
        ("in 19790", 1979, "integer", False),
        ("won seven Oscars", 7, "integer", True),
        ("runs 117 min", 117, "integer", True),
        ("runs 1 hour and 57 minutes", 117, "integer", True),
        ("cost $11 million", 11_000_000.0, "number", True),
        ("1,234 copies", 1234, "integer", True),
        ("1,234 copies", 234, "integer", False),
        ("released May 25, 1979", "1979-05-25", "date", True),
        ("released 25 May 1979", "1979", "date", True),
        ("released in 1979", "1979-05-25", "date", False),
        ("released 5/25/1979", "1979-05-25", "date", True),
        ("“Best  Film” award", "best film", "string", True),
        ("the Filmmaker", "Film", "string", False),
        ("whatever", True, "boolean", True),
    ],
)
def test_a_text_states_a_value_or_not(text: str, value: str | float, datatype: str, stated: bool) -> None:
    assert states(text, value, datatype) is stated


def test_impossible_dates_are_no_dates() -> None:
    assert set(dates_in("1979-13-45 and 32/32/1979")) == {"1979"}
    assert set(dates_in("3/4/1979")) == {"1979", "1979-03-04", "1979-04-03"}


def test_numbers_are_read_in_every_form() -> None:
    assert set(numbers_in("−3 of 1,000 in 2.5 billion, twelve times")) == {-3, 1000, 2.5, 2.5e9, 12}
