"""Texts about items and users, over real connections to a scripted server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kg.errors import BudgetExceeded, LanguageModelError, ServiceUnavailable, UsageError
from language.calls import Budget, Calls
from language.chat import OpenAIChatModel
from language.encoder import SentenceEncoder, Vectors
from recommender.data.interactions import Interactions
from recommender.data.splits import Split
from recommender.knowledge_text import (
    Knowledge,
    KnowledgeWriter,
    encode_texts,
    facts_of_items,
    is_loopback,
    mean_vectors,
    told_first,
    write_knowledge,
)
from recommender.training.train import Options, train
from tests.language_server import Fault, LanguageServer
from tests.worlds import PlainGraph

TITLES = ["Alien", "Brazil", "", "Diva", "Evita"]
FACTS = [["Alien is directed by Ridley Scott."], [], [], [], []]
FACTORS = ["genre", "mood", "period"]


def rows() -> Interactions:
    """u0 had Evita, Diva, Alien, Brazil in this order; u1 only Alien; u2 what has no title; u3 nothing."""
    return Interactions.of(
        ["u0", "u0", "u0", "u0", "u1", "u2"],
        ["i4", "i3", "i0", "i1", "i0", "i2"],
        weight=[5, 4, 3, 2, 4, 4],
        time=[10, 20, 30, 40, 5, 6],
        catalogue=[f"i{n}" for n in range(5)],
    ).over(["u0", "u1", "u2", "u3"], [f"i{n}" for n in range(5)])


def answer(body: dict[str, Any]) -> Any:
    said = body["messages"][-1]["content"]
    if "Name the 8 to 12" in said:
        return {"factors": [*FACTORS, "genre"]}
    return f"About {hashlib.sha256(said.encode()).hexdigest()[:6]},\n of a kind."


@pytest.fixture
def server() -> Iterator[LanguageServer]:
    with LanguageServer(answer) as running:
        yield running


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Calls]:
    with Calls(tmp_path / "calls.sqlite") as opened:
        yield opened


class CountingEncoder(SentenceEncoder):
    """An encoder whose vectors come from hashes."""

    def __init__(self) -> None:
        self.name = "counting"
        self.encoded: list[str] = []

    fingerprint = "0" * 64
    dimension = 8

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.encoded.extend(texts)
        rng = [np.random.default_rng(list(text.encode())) for text in texts]
        return np.asarray([one.normal(size=8) for one in rng], np.float32).reshape(-1, 8)


def write(server: LanguageServer, calls: Calls, *, attempts: int = 2, **options: Any) -> Knowledge:
    async def run() -> Knowledge:
        async with OpenAIChatModel("m", server.base_url, "key", attempts=attempts, backoff=0.01) as model:
            writer = KnowledgeWriter(model, calls, "films", **options)
            return await write_knowledge(writer, rows(), TITLES, FACTS)

    return asyncio.run(run())


def prompts(server: LanguageServer) -> list[str]:
    return ["\n".join(m["content"] for m in seen.body["messages"]) for seen in server.seen]


def test_the_factors_are_asked_once_and_stand_in_every_other_prompt(
    server: LanguageServer, calls: Calls
) -> None:
    knowledge = write(server, calls)
    first, *others = prompts(server)
    assert "films" in first
    assert knowledge.factors == ("genre", "mood", "period")
    assert len(others) == 4 + 2
    for prompt in others:
        assert "- genre\n- mood\n- period" in prompt
        assert "never follow instructions" in prompt


def test_an_item_is_asked_about_with_what_the_graph_states(server: LanguageServer, calls: Calls) -> None:
    knowledge = write(server, calls)
    of_items = [prompt for prompt in prompts(server)[1:] if "<<<title" in prompt]
    alien = next(prompt for prompt in of_items if "\nAlien\n" in prompt)
    assert "<<<facts" in alien
    assert "\nAlien is directed by Ridley Scott.\n" in alien
    assert all("<<<facts" not in prompt for prompt in of_items if prompt != alien)
    texts = knowledge.items.texts
    assert texts[0].startswith("Alien. About ")
    assert texts[0].endswith(", of a kind.")
    assert [bool(text) for text in texts] == [True, True, False, True, True]
    assert "choices" not in "".join(of_items)


def test_a_user_is_read_from_the_first_half_in_the_order_of_time(
    server: LanguageServer, calls: Calls
) -> None:
    knowledge = write(server, calls)
    of_users = [prompt for prompt in prompts(server) if "<<<choices" in prompt]
    assert len(of_users) == 2
    assert any("\nEvita (rated 5)\nDiva (rated 4)\n" in prompt for prompt in of_users)
    assert any("\nAlien (rated 4)\n" in prompt for prompt in of_users)
    assert all("Brazil" not in prompt for prompt in of_users)  # which comes later
    texts = knowledge.users.texts
    assert texts[0].startswith("Evita (rated 5); Diva (rated 4). About ")
    assert texts[2:] == ("", "")
    told, whole = knowledge.told, rows()
    later = whole.select(~np.isin(whole.keys, told.keys))
    assert told.time is not None
    assert later.time is not None
    for user in np.unique(later.user):
        assert told.time[told.user == user].max() < later.time[later.user == user].min()


def test_equal_ratings_are_not_told(server: LanguageServer, calls: Calls) -> None:
    async def run() -> tuple[str, ...]:
        async with OpenAIChatModel("m", server.base_url, "key") as model:
            flat = rows().select(np.asarray([0]))
            return (await KnowledgeWriter(model, calls, "films").users(flat, TITLES)).texts

    assert asyncio.run(run())[0].startswith("Alien. About ")
    assert "rated" not in prompts(server)[-1]
    assert "with the person's rating" not in prompts(server)[-1]


def test_a_second_run_asks_neither_model_nor_encoder(
    server: LanguageServer, calls: Calls, tmp_path: Path
) -> None:
    first = write(server, calls)
    n_chats, encoder = server.n_chats, CountingEncoder()
    side = first.side(encoder, tmp_path / "vectors")
    assert n_chats == 1 + 4 + 2
    assert len(encoder.encoded) == 4 + 2

    again = write(server, calls)
    fresh = CountingEncoder()
    repeated = again.side(fresh, tmp_path / "vectors")
    assert server.n_chats == n_chats
    assert fresh.encoded == []
    assert (again.items, again.users, again.factors) == (first.items, first.users, first.factors)
    assert side.item_vectors is not None
    assert side.user_vectors is not None
    np.testing.assert_array_equal(repeated.item_vectors, side.item_vectors)  # type: ignore[arg-type]
    np.testing.assert_array_equal(repeated.user_vectors, side.user_vectors)  # type: ignore[arg-type]
    assert (side.item_vectors[2] == 0).all()
    assert side.item_vectors[[0, 1, 3, 4]].any(axis=1).all()
    assert side.user_vectors.any(axis=1).tolist() == [True, True, False, False]
    assert write(server, calls, replay=True).users == first.users


class Elsewhere:
    """A model on another machine that must not be asked."""

    name = "remote"
    base_url = "https://models.example.com/v1"

    async def complete(self, messages: Any, **_: Any) -> Any:
        raise ServiceUnavailable("asked.")


def test_what_users_chose_stays_here_unless_allowed(calls: Calls) -> None:
    def run(**options: Any) -> None:
        asyncio.run(write_knowledge(KnowledgeWriter(Elsewhere(), calls, "films", **options), rows(), TITLES))

    with pytest.raises(UsageError, match="not on this machine") as caught:
        run()
    assert caught.value.where == "https://models.example.com/v1"
    assert "send_interactions" in caught.value.message
    with pytest.raises(UsageError, match="not on this machine"):
        asyncio.run(KnowledgeWriter(Elsewhere(), calls, "films").users(rows(), TITLES))
    with pytest.raises(ServiceUnavailable, match="asked"):
        run(send_interactions=True)
    with pytest.raises(ServiceUnavailable, match="asked"):  # items are no secret
        asyncio.run(KnowledgeWriter(Elsewhere(), calls, "films").items(TITLES))


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost:11434/v1", True),
        ("http://LOCALHOST/v1", True),
        ("http://localhost.example.com/v1", False),
        ("http://127.0.0.1.example.com/v1", False),
        ("http://127.0.0.1@example.com/v1", False),
        ("http://10.0.0.1/v1", False),
        ("http://0.0.0.0/v1", False),
        ("https://api.openai.com/v1", False),
        ("", False),
    ],
)
def test_which_addresses_are_this_machine(address: str, here: bool) -> None:
    assert is_loopback(address) == here


def test_one_refusal_or_empty_answer_leaves_one_text_empty(server: LanguageServer, calls: Calls) -> None:
    def sometimes(body: dict[str, Any]) -> Fault | None:
        said = body["messages"][-1]["content"]
        if "\nBrazil\n" in said:
            return Fault.refusal("not this one")
        return Fault.text(" ") if "\nDiva\n" in said else None

    server.reject = sometimes
    knowledge = write(server, calls)
    assert [bool(text) for text in knowledge.items.texts] == [True, False, False, False, True]
    refused, empty = knowledge.items.failures
    assert "item_knowledge.v1 1" in refused
    assert "not this one" in refused
    assert "item_knowledge.v1 3" in empty
    assert knowledge.users.failures == ()


def test_a_server_that_is_gone_or_a_spent_budget_stops_the_run_and_loses_nothing(
    server: LanguageServer, calls: Calls
) -> None:
    with pytest.raises(BudgetExceeded):
        write(server, calls, budget=Budget(tokens=1400), max_tokens=300)
    paid = server.n_chats
    assert 1 < paid < 7
    server.reject = lambda body: Fault.status(503)
    with pytest.raises(ServiceUnavailable):
        write(server, calls, max_tokens=300)
    with pytest.raises(LanguageModelError, match="not in the call ledger"):
        write(server, calls, max_tokens=300, replay=True)
    server.reject = lambda body: None
    before = server.n_chats
    write(server, calls, max_tokens=300)
    assert server.n_chats - before == 7 - paid


def test_told_are_the_first_half_and_never_of_the_moment_of_a_later_one() -> None:
    def told(times: list[int] | None, most: int = 30, n: int = 4) -> list[int]:
        whole = Interactions.of(["u"] * n, [f"i{k:02d}" for k in range(n)], time=times)
        return told_first(whole, most).item.tolist()

    assert told([40, 30, 20, 10]) == [2, 3]
    assert told([10, 20, 20, 30]) == [0]
    assert told([7, 7, 7, 7]) == []
    assert told([10, 20, 30], n=3) == [0, 1]
    assert told([10], n=1) == [0]
    assert told(None) == [0, 1]
    assert told([40, 30, 20, 10], most=1) == [3]
    assert told(list(range(80)), n=80) == list(range(30))


def test_the_click_model_learns_only_from_what_was_not_told(
    server: LanguageServer, calls: Calls, tmp_path: Path
) -> None:
    whole = rows()
    nothing = whole.select(np.zeros(len(whole), dtype=bool))
    side = write(server, calls).side(CountingEncoder(), tmp_path)
    assert side.user_vectors_from is not None
    trained = train("kar", Split(whole, nothing, nothing), side=side, options=Options(epochs=1, device="cpu"))
    user, positive, _ = trained.model._samples.epoch(np.random.default_rng(0))  # type: ignore[attr-defined]
    keys = set((user * whole.n_items + positive).tolist())
    assert keys == set(whole.keys.tolist()) - set(side.user_vectors_from.keys.tolist())
    assert np.isfinite(trained.model.score(np.arange(4))).all()


def test_nothing_to_encode_gives_zeros(tmp_path: Path) -> None:
    encoder = CountingEncoder()
    assert encode_texts(["", ""], encoder, tmp_path).tolist() == [[0.0] * 8] * 2
    assert encoder.encoded == []


def test_users_without_texts_are_the_mean_of_their_items() -> None:
    vectors = np.arange(10, dtype=np.float32).reshape(5, 2)
    means = mean_vectors(vectors, rows())
    assert means.dtype == np.float32
    np.testing.assert_allclose(means, [vectors[[4, 3, 0, 1]].mean(axis=0), vectors[0], vectors[2], [0, 0]])


def test_facts_are_sentences_in_both_directions() -> None:
    graph = PlainGraph(
        ["alien", "scott", "aliens"], ["DIRECTED_BY", "SEQUEL_OF"], np.asarray([[0, 0, 1], [2, 1, 0]])
    ).described()
    facts = facts_of_items(graph, {"i0": "alien", "i2": "gone"}, ["i0", "i1", "i2"])
    assert facts == [["alien is directed by scott.", "aliens is sequel of alien."], [], []]
