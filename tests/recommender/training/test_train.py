from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kg.errors import TrainingError, UsageError
from recommender.data.splits import Split, random_split
from recommender.graph.joint import JointGraph
from recommender.models.registry import MODELS, find_model
from recommender.training.train import Options, Progress, Trained, train
from tests.recommender.tiny import fitted, tiny
from tests.worlds import World, planted_world

WORLD = planted_world(1)
SMALL: dict[str, dict[str, Any]] = {
    "bpr": {"dim": 8, "learning_rate": 0.01},
    "lightgcn": {"dim": 8, "n_layers": 2, "learning_rate": 0.01},
    "kgat": {"dim": 8, "relation_dim": 8, "layers": [8], "learning_rate": 0.01},
}
OPTIONS = Options(epochs=4, evaluate_every=2, device="cpu")


def with_validation(world: World) -> Split:
    return random_split(world.split.train, np.random.default_rng(0), (0.8, 0.2, 0.0))


SPLIT = with_validation(WORLD)
GRAPH = JointGraph.build(SPLIT, WORLD.graph, WORLD.links)


def run(name: str, folder: Path | None = None, options: Options = OPTIONS) -> Trained:
    return train(name, SPLIT, GRAPH, model_options=SMALL[name], options=options, run_folder=folder)


def scores(trained: Trained) -> np.ndarray:
    return np.asarray(trained.model.score(np.arange(SPLIT.train.n_users)))


BY_GRADIENT = [name for name, entry in MODELS.items() if entry.by_gradient]


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_seed_changes_the_result(name: str) -> None:
    users = np.arange(tiny()[0].train.n_users)
    one, other = (fitted(name, seed).model.score(users) for seed in (0, 1))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_resumed_run_ends_in_the_same_numbers(name: str, tmp_path: Path) -> None:
    split, graph, side = tiny()

    def run_in(folder: str, epochs: int) -> tuple[np.ndarray, Any]:
        options = Options(epochs=epochs, evaluate_every=1, device="cpu")
        done = train(name, split, graph, side=side, options=options, run_folder=tmp_path / folder)
        return np.asarray(done.model.score(np.arange(split.train.n_users))), done.history

    run_in("parts", 1)
    resumed, history = run_in("parts", 3)
    whole, unbroken = run_in("whole", 3)
    assert np.array_equal(whole, resumed)
    assert unbroken == history
    again, _ = run_in("parts", 3)  # nothing is left to do
    assert np.array_equal(whole, again)


def test_run_folder_records_what_where_and_how(tmp_path: Path) -> None:
    run("kgat", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"] == "kgat"
    assert config["config"]["layers"] == [8]
    assert config["options"]["seed"] == 0
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [2, 4]
    assert set(lines[0]) == {"epoch", "train/ranking", "train/knowledge", "validation/ndcg@20"}


def test_a_crash_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    run("bpr", tmp_path, Options(epochs=2, evaluate_every=2, device="cpu"))
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    (tmp_path / "checkpoint.new").mkdir()  # half written
    assert np.array_equal(scores(run("bpr", tmp_path)), scores(run("bpr")))


def test_damaged_or_other_checkpoints_are_refused(tmp_path: Path) -> None:
    run("bpr", tmp_path / "a")
    with pytest.raises(TrainingError, match="other settings"):
        train("bpr", SPLIT, model_options={"dim": 4}, options=OPTIONS, run_folder=tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    state = tmp_path / "b" / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(TrainingError, match="damaged"):
        run("bpr", tmp_path / "b")


def test_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    seen: list[Progress] = []
    options = Options(epochs=60, evaluate_every=1, patience=3, device="cpu")
    config = {"dim": 16, "learning_rate": 0.05}
    found = train("bpr", SPLIT, model_options=config, options=options, progress=seen.append)
    assert len(seen) < 60
    assert seen[-1].epoch == found.best_epoch + 3
    values = [step.validation for step in seen if step.validation is not None]
    assert found.best_validation == max(values) == values[found.best_epoch - 1]
    from recommender.evaluation.evaluate import evaluate

    now = evaluate(found.model, SPLIT.validation, seen=[SPLIT.train]).figures()["ndcg@20"]
    assert now == pytest.approx(found.best_validation)


def test_auc_can_choose_the_epoch() -> None:
    found = run("bpr", options=Options(epochs=4, evaluate_every=2, metric="auc", device="cpu"))
    assert found.best_validation is not None
    assert 0.5 < found.best_validation <= 1


def test_a_callers_own_judge_chooses_the_epoch() -> None:
    wanted = iter([0.1, 0.9, 0.2, 0.3])
    options = Options(epochs=4, evaluate_every=1, device="cpu")
    found = train("bpr", SPLIT, options=options, validate=lambda _: next(wanted))
    assert (found.best_epoch, found.best_validation) == (2, 0.9)
    assert [line["validation/custom"] for line in found.history] == [0.1, 0.9, 0.2, 0.3]


def test_a_run_is_not_continued_on_other_data(tmp_path: Path) -> None:
    run("bpr", tmp_path)
    other = random_split(WORLD.split.train, np.random.default_rng(9), (0.8, 0.2, 0.0))
    with pytest.raises(TrainingError, match="other settings or other data"):
        train("bpr", other, model_options=SMALL["bpr"], options=OPTIONS, run_folder=tmp_path)


@pytest.mark.parametrize("what", ["ratings", "texts", "item vectors", "friends", "validation"])
def test_a_run_is_not_continued_on_other_side_data(what: str, tmp_path: Path) -> None:
    split, graph, side = tiny()
    assert side.rated is not None
    assert side.item_texts is not None
    assert side.item_vectors is not None
    assert side.friends is not None
    other = {
        "ratings": replace(side, rated=replace(side.rated, weight=side.rated.weight[::-1].copy())),
        "texts": replace(side, item_texts=["another", *side.item_texts[1:]]),
        "item vectors": replace(side, item_vectors=side.item_vectors + 1),
        "friends": replace(side, friends=side.friends[1:]),
        "validation": side,
    }[what]
    fewer = replace(split, validation=split.validation.select(np.arange(len(split.validation) - 1)))
    train("bpr", split, graph, side=side, options=OPTIONS, run_folder=tmp_path)
    train("bpr", split, graph, side=side, options=OPTIONS, run_folder=tmp_path)
    with pytest.raises(TrainingError, match="other settings or other data"):
        train(
            "bpr",
            fewer if what == "validation" else split,
            graph,
            side=other,
            options=OPTIONS,
            run_folder=tmp_path,
        )


def test_diverging_training_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"Lower learning_rate \(it is 1e\+30\)"):
        train("bpr", SPLIT, model_options={"learning_rate": 1e30}, options=OPTIONS, run_folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dims": 8}, "no option 'dims'. Did you mean 'dim'?"),
        ({"dim": "8"}, "dim cannot be '8'. Give an integer."),
        ({"learning_rate": "x"}, "learning_rate cannot be 'x'. Give a number."),
        ({"layers": [8, "x"]}, "layers cannot be [8, 'x']. Give a list of integers."),
        ({"sample_by": "item"}, "sample_by cannot be 'item'. Give interaction or user."),
        ({"attention": 1}, "attention cannot be 1. Give true or false."),
    ],
)
def test_wrong_model_options(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        train("kgat", SPLIT, GRAPH, model_options=options)
    assert said in caught.value.message


def test_wrong_settings() -> None:
    with pytest.raises(UsageError, match="Did you mean 'lightgcn'"):
        find_model("lightgcm")
    with pytest.raises(UsageError, match="needs a knowledge graph"):
        train("kgat", SPLIT)
    with pytest.raises(UsageError, match="accumulate cannot be 0"):
        train("bpr", SPLIT, options=Options(accumulate=0))
    with pytest.raises(UsageError, match="no precision 'half'"):
        train("bpr", SPLIT, options=Options(precision="half"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no device"):
        train("bpr", SPLIT, options=Options(device="abacus"))


def test_listing_models_imports_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from recommender.models.registry import MODELS; print(*MODELS, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*MODELS, "False"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["bpr", "lightgcn", "kgat"])
def test_trains_on_cuda(name: str, tmp_path: Path) -> None:
    found = run(name, tmp_path, Options(epochs=4, evaluate_every=2, device="cuda"))
    assert np.isfinite(scores(found)).all()
    run(name, tmp_path, Options(epochs=6, evaluate_every=2, device="cuda"))
