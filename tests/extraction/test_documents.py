from __future__ import annotations

import inspect
import io
import json
import os
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from extraction.documents import FORMATS, ReadFailure, ReadOptions, read_documents
from kg.errors import UsageError
from kg.facts import Document

DATA = Path(__file__).parent.parent / "data"


def read(*paths: Path | str, **options: object) -> list[Document | ReadFailure]:
    return list(read_documents(paths, ReadOptions(**options)))  # type: ignore[arg-type]


def documents(found: Sequence[Document | ReadFailure]) -> list[Document]:
    assert [item for item in found if isinstance(item, ReadFailure)] == []
    return [item for item in found if isinstance(item, Document)]


def failure(*paths: Path | str, **options: object) -> str:
    (found,) = read(*paths, **options)
    assert isinstance(found, ReadFailure), found
    assert found.error.where is not None
    return found.error.message


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- text and markdown


def test_text_is_kept_but_for_newlines_and_the_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "a-film.txt", b"\xef\xbb\xbf  One\r\ntwo\rthre\xcc\x81e  \n")
    (document,) = documents(read(path))
    assert document.text == "  One\ntwo\nthre\u0301e  \n"
    assert (document.title, document.uri) == ("a-film", str(path))
    assert document.id == Document.of(document.text, "").id


def test_markdown_front_matter_becomes_metadata(tmp_path: Path) -> None:
    text = '---\ntitle: "Alien: a film"\nyear: 1979\ntags: [a, b]\n---\n\n# Heading\n\nText.\n'
    (document,) = documents(read(write(tmp_path / "a.md", text)))
    assert (document.title, document.text) == ("Alien: a film", "# Heading\n\nText.\n")
    assert dict(document.metadata) == {"year": "1979"}


def test_toml_front_matter(tmp_path: Path) -> None:
    (document,) = documents(read(write(tmp_path / "a.md", '+++\ntitle = "A"\nyear = 1979\n+++\nText.\n')))
    assert (document.title, document.text, dict(document.metadata)) == ("A", "Text.\n", {"year": "1979"})


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("intro\n\n## The *first* ##\n\n# Second", "The *first*"),
        ("Underlined\n======\n\nText", "Underlined"),
        ("no heading", "a"),
        ("---\nno: front matter, since it never ends", "a"),
    ],
)
def test_markdown_titles(tmp_path: Path, text: str, title: str) -> None:
    assert documents(read(write(tmp_path / "a.md", text)))[0].title == title


# --- html


def test_html_keeps_paragraphs_and_drops_what_is_no_content() -> None:
    (document,) = documents(read(DATA / "page.html"))
    assert document.title == "Alien & Aliens"
    assert document.text == (
        "Alien\n\nAlien is a 1979 film by Ridley Scott.\nIt has a cat.\n\n"
        "Crew\n\nRipley\n\nJones, the cat\n\nYear 1979\nPlace Nostromo\n\nkept as\nit is"
    )


def test_html_title_falls_back_on_the_heading_and_the_stem(tmp_path: Path) -> None:
    assert documents(read(write(tmp_path / "a.html", "<h1>Head</h1><p>x")))[0].title == "Head"
    assert documents(read(write(tmp_path / "b.html", "<p>x")))[0].title == "b"


def test_html_declares_its_encoding(tmp_path: Path) -> None:
    page = '<html><head><meta charset="iso-8859-1"></head><body>Amélie</body></html>'
    assert documents(read(write(tmp_path / "a.html", page.encode("latin-1"))))[0].text == "Amélie"


def test_html_nested_deeper_than_the_stack(tmp_path: Path) -> None:
    path = write(tmp_path / "a.html", "<div>" * 20_000 + "deep" + "</div>" * 20_000)
    assert documents(read(path))[0].text == "deep"


def test_html_without_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.html", "<html><body><script>x</script><nav>menu</nav></body></html>")
    assert "no readable text" in failure(path)


# --- pdf


def pdf(*pages: str, title: str = "", password: str = "") -> bytes:
    """Write a PDF with one line of text a page; an empty page holds only a rectangle."""
    pypdf = pytest.importorskip("pypdf")
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(width=600, height=200)
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        content = DecodedStreamObject()
        drawn = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET" if text else "20 20 100 100 re f"
        content.set_data(drawn.encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(content)
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def test_pdf_pages_are_paragraphs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", pdf("Alien is a film.", "It has a cat.", title="Alien"))
    (document,) = documents(read(path))
    assert document.text == "Alien is a film.\n\nIt has a cat."
    assert (document.title, dict(document.metadata)) == ("Alien", {"pages": "2"})


def test_pdf_that_cannot_be_read(tmp_path: Path) -> None:
    assert "encrypted" in failure(write(tmp_path / "a.pdf", pdf("Secret.", password="x")))
    assert "only images" in failure(write(tmp_path / "b.pdf", pdf("", "")))
    assert "damaged" in failure(write(tmp_path / "c.pdf", b"%PDF-1.7 this is none"))
    assert "damaged" in failure(write(tmp_path / "d.pdf", pdf("Alien.")[:200]))


# --- jsonl


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"id": "x1", "title": "Alien", "text": "A film.\r\nGood.", "year": 1979, "good": True, "tags": ["a"]},
        {"text": "Another.", "score": 0.5, "none": None},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n\n")
    first, second = documents(read(path))
    assert (first.uri, first.title, first.text) == (f"{path}#x1", "Alien", "A film.\nGood.")
    assert dict(first.metadata) == {"id": "x1", "year": "1979", "good": "true"}
    assert (second.uri, second.title, dict(second.metadata)) == (f"{path}#2", "", {"score": "0.5"})


def test_json_lines_with_other_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", '{"body": "One.", "key": 7, "name": "N"}\n{"body": "Two.", "key": 8}\n'
    )
    found = documents(read(path, text_field="body", id_field="key", title_field="name"))
    assert [(d.uri.rpartition("#")[2], d.title) for d in found] == [("7", "N"), ("8", "")]


def test_each_bad_line_is_one_failure_with_its_number(tmp_path: Path) -> None:
    lines = [
        '{"text": "fine"}', '{"text": ', "[1]", '{"txet": "x", "id": 3}', '{"text": 5}', '{"text": "  "}',
        '{"text": "x", "id": "\\udc00"}', '{"text": "x", "\\udc00": "x"}',
        '{"text": "half \\ud800 a pair"}', '{"text": "nul \\u0000"}', "[" * 100_000, '{"text": "last"}',
    ]  # fmt: skip
    path = write(tmp_path / "a.jsonl", "\n".join(lines).encode() + b'\n{"text": "\xff"}\n')
    found = read(path)
    assert [item.text for item in found if isinstance(item, Document)] == ["fine", "last"]
    failures = {item.where: item.error for item in found if isinstance(item, ReadFailure)}
    assert [int(where.rpartition("#")[2]) for where in failures if where] == [
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        13,
    ]
    assert "column 9" in failures[f"{path}#2"].what
    assert "txet, id" in str(failures[f"{path}#4"].hint)
    assert "--text-field txet" in str(failures[f"{path}#4"].hint)
    assert "U+D800" in failures[f"{path}#9"].what
    assert f"0xff at offset {path.stat().st_size - 4:,}" in failures[f"{path}#13"].what


def test_a_line_of_200_megabytes_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "before"}\n{"text": "')
        for _ in range(200):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"text": "after"}\n')
    tracemalloc.start()
    found = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [item.text for item in found if isinstance(item, Document)] == ["before", "after"]
    (refused,) = [item for item in found if isinstance(item, ReadFailure)]
    assert (refused.where, "200,000,013 bytes" in refused.error.what) == (f"{path}#2", True)
    assert peak < 50_000_000


def test_two_rows_of_one_id_never_replace_each_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"id": 1, "text": "one"}\n{"id": 1, "text": "two"}\n')
    assert [document.uri for document in documents(read(path))] == [f"{path}#1", f"{path}#1@2"]
    first, second = read(path, id_field="id")
    assert isinstance(first, Document)
    assert isinstance(second, ReadFailure)
    assert "used by an earlier row" in second.error.what
    assert len(documents(read(path, id_field="#"))) == 2


# --- csv


def test_csv_with_quoted_newlines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'id,text,year\na,"One,\ntwo",1979\nb,Three,\n')
    first, second = documents(read(path))
    assert (first.uri, first.text, dict(first.metadata)) == (
        f"{path}#a", "One,\ntwo", {"id": "a", "year": "1979"},
    )  # fmt: skip
    assert (second.uri, dict(second.metadata)) == (f"{path}#b", {"id": "b"})


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", ";"), ("a.csv", "|")])
def test_csv_delimiters(tmp_path: Path, name: str, delimiter: str) -> None:
    path = write(tmp_path / name, f"n{delimiter}text\n1{delimiter}One, two\n")
    assert documents(read(path))[0].text == "One, two"


def test_csv_without_the_column_is_one_failure_that_names_the_columns(tmp_path: Path) -> None:
    message = failure(write(tmp_path / "a.csv", "id,Txt,year\n1,x,2\n2,y,3\n"))
    assert "no column 'text'" in message
    assert "id, Txt, year" in message
    assert "--text-field Txt" in message


def test_csv_rows_that_do_not_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text\n1,one\n2,two,more\n\n4,four\n")
    found = read(path)
    assert [type(item) for item in found] == [Document, ReadFailure, Document]
    assert isinstance(found[1], ReadFailure)
    assert (found[1].where, found[1].error.what) == (f"{path}#3", "the row has 3 cells, the header 2.")


def test_csv_ends_where_nothing_can_be_told_apart(tmp_path: Path) -> None:
    good = "id,text\n1,one\n"
    found = read(write(tmp_path / "a.csv", good.encode() + b"2,tw\xf6\n3,three\n"))
    assert [type(item) for item in found] == [Document, ReadFailure]
    assert isinstance(found[1], ReadFailure)
    assert "--encoding cp1252" in found[1].error.message
    path = write(tmp_path / "b.csv", good + '2,"never closed\n' + "x,y\n" * 5000)
    found = read(path, max_document_characters=10_000)
    assert isinstance(found[-1], ReadFailure)
    assert found[-1].where.startswith(f"{path}#3")


# --- bad input of any kind


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "pdf"])
def test_an_empty_file_is_one_failure(tmp_path: Path, format_: str) -> None:
    for content in ("", "\n \n"):
        message = failure(write(tmp_path / "a", content), format=format_)
        assert "no text" in message or "empty" in message or "no readable text" in message


def test_wrong_encodings_say_which_byte_and_what_to_try(tmp_path: Path) -> None:
    message = failure(write(tmp_path / "a.txt", "Amélie".encode("cp1252")))
    assert "byte 0xe9 at offset 2 is not utf-8" in message
    assert "--encoding cp1252" in message
    assert "--encoding utf-16" in failure(write(tmp_path / "b.txt", "Amélie".encode("utf-16")))
    assert documents(read(tmp_path / "a.txt", encoding="cp1252"))[0].text == "Amélie"
    assert documents(read(tmp_path / "b.txt", encoding="utf-16"))[0].text == "Amélie"
    assert "binary" in failure(write(tmp_path / "c.txt", bytes(range(256))))
    assert "NUL" in failure(write(tmp_path / "d.txt", b"a\x00b"))


def test_unknown_formats(tmp_path: Path) -> None:
    assert "unknown format .xyz" in failure(write(tmp_path / "a.xyz", "x"))
    assert "one JSON object a line" in failure(write(tmp_path / "a.json", "{}"))
    assert documents(read(tmp_path / "a.xyz", format="txt"))[0].text == "x"


def test_a_document_that_is_too_large(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "x" * 1001)
    assert "1,001 characters" in failure(path, max_document_characters=1000)
    assert "larger than" in failure(write(path, "x" * 10_000), max_document_characters=1000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "x")
    path.chmod(0)
    assert "Permission denied" in failure(path)


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    assert "not a regular file" in failure(tmp_path)


def test_usage_errors_come_at_once(tmp_path: Path) -> None:
    for paths, options in (
        ([tmp_path / "nothing.txt"], ReadOptions()),
        ([str(tmp_path / "*.txt")], ReadOptions()),
        ([tmp_path], ReadOptions(format="docx")),
        ([tmp_path], ReadOptions(encoding="utf-9")),
    ):
        with pytest.raises(UsageError):
            read_documents(paths, options)


# --- places


def test_folders_are_read_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.md", "a/x/3.txt", ".git/4.txt", "a/.hidden.txt", "0.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, name)
    found = documents(read(tmp_path, relative_to=tmp_path))
    assert [document.uri for document in found] == ["0.txt", "a/x/3.txt", "b/1.md", "b/2.txt"]


def test_folders_nested_deeper_than_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    depth, limit = 300, sys.getrecursionlimit()
    monkeypatch.chdir(tmp_path)
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    write(Path("deep.txt"), "x")
    try:
        sys.setrecursionlimit(len(inspect.stack(0)) + depth // 2)
        assert [document.text for document in documents(read(tmp_path))] == ["x"]
    finally:  # what clears temporary folders may not reach this deep
        sys.setrecursionlimit(limit)
        os.remove("deep.txt")
        for _ in range(depth):
            os.chdir("..")
            os.rmdir("d")


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x", encoding="utf-8")
    except OSError:
        pytest.skip("this file system only takes names in UTF-8")
    assert "the place holds the character U+DCFF" in failure(tmp_path)


def test_globs(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.md", "odd[1].txt"):
        write(tmp_path / name, name)
    assert [d.title for d in documents(read(str(tmp_path / "?.txt")))] == ["a", "b"]
    assert [d.title for d in documents(read(str(tmp_path / "odd[1].txt")))] == ["odd[1]"]


def test_one_file_has_one_place_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.txt", "x")
    monkeypatch.chdir(tmp_path)
    uris = {documents(read(name))[0].uri for name in ("a.txt", "./a.txt", f"../{tmp_path.name}/a.txt")}
    assert uris == {str(tmp_path / "a.txt")}


def test_linked_folders_are_read_once_and_loops_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "1.txt", "x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "a")
    (tmp_path / "broken.txt").symlink_to(tmp_path / "nowhere")
    found = read(tmp_path, relative_to=tmp_path)
    assert [item.uri if isinstance(item, Document) else item.where for item in found] == [
        "a/1.txt", "a/loop", "broken.txt",
    ]  # fmt: skip
    assert "leads back" in found[1].error.what  # type: ignore[union-attr]


def test_standard_input() -> None:
    def from_pipe(data: bytes, **options: str) -> list[Document]:
        return documents(list(read_documents(["-"], ReadOptions(**options), stdin=io.BytesIO(data))))  # type: ignore[arg-type]

    first, second = from_pipe(b"One."), from_pipe(b"Two.")
    assert first[0].uri != second[0].uri
    assert (first[0].title, first[0].uri.startswith("stdin#")) == ("", True)
    rows = from_pipe(b'{"text": "One."}\n{"text": "Two.", "id": "b"}\n', format="jsonl")
    assert [row.text for row in rows] == ["One.", "Two."]
    assert rows[1].uri == "stdin#b"


def test_reading_is_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n' * 100_000, encoding="utf-8")
    stream = read_documents([path])
    tracemalloc.start()
    assert next(stream) is not None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
