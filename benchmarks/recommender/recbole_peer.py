"""The peer's half of ``speed.py``: times RecBole 1.2.1 inside an environment of its own.

    PEER_PYTHON recbole_peer.py REQUEST.json ANSWER.json

An environment that works, on Python 3.11: ``pip install numpy==1.26.4 pandas==2.3.3 scipy==1.17.1
"setuptools<81" torch colorama colorlog pyyaml tqdm scikit-learn tabulate tensorboard thop texttable psutil
plotly`` and ``pip install --no-deps recbole==1.2.1``. Its entry ``quick_start`` is not used, because that
asks for ray; configuration, data, model and trainer are RecBole's own. Nothing of this project is imported.

What is put in place of what RecBole needs and does not get:

- scipy 1.13 and newer have no ``dok_matrix._update`` (LightGCN and KGIN, at their start);
- dgl, which KGAT asks for at its start: a graph that holds its edges, picks some by a test and gives them as
  a scipy matrix;
- torch_scatter's ``scatter_mean``, which KGIN calls in every layer: torch's own ``index_add`` and a division.
  It is the only one inside what is timed: KGIN's row has this share of ours in it.

An epoch is timed batch by batch, by process time. Where only the first batches are run, the rest is taken to
cost what those after the first did on average.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import types
import warnings
from contextlib import suppress
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

warnings.simplefilter("ignore")


def main() -> None:
    request_path, answer_path = (Path(argument).resolve() for argument in sys.argv[1:3])
    request = json.loads(request_path.read_text(encoding="utf-8"))
    sys.argv = sys.argv[:1]  # RecBole takes options from there
    fill_gaps()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it writes logs and checkpoints to where it runs
        answer = measure(request)
    answer_path.write_text(json.dumps(answer), encoding="utf-8")


def fill_gaps() -> None:
    """Put the replacements in place that this file's beginning lists."""
    from scipy.sparse import dok_matrix

    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, entries: self._dict.update(entries)
    dgl = types.ModuleType("dgl")
    dgl.graph = lambda ends: EdgeGraph(*ends)
    dgl.edge_subgraph = lambda graph, chosen, preserve_nodes: graph.only(chosen)
    sys.modules.setdefault("dgl", dgl)
    scatter = types.ModuleType("torch_scatter")
    scatter.scatter_mean = scatter_mean
    sys.modules.setdefault("torch_scatter", scatter)


def scatter_mean(src, index, dim_size, dim):
    total = src.new_zeros(dim_size, src.shape[1]).index_add(dim, index, src)
    return total / index.bincount(minlength=dim_size).clamp(min=1)[:, None]


class EdgeGraph:
    """As much of dgl's graph as RecBole's KGAT calls."""

    def __init__(self, source, target, n_nodes=None):
        self.source, self.target = source, target
        self.n_nodes = n_nodes or int(max(source.max(), target.max())) + 1
        self.edata = {}

    def filter_edges(self, wanted):
        """The positions of the edges that pass a test."""
        return wanted(types.SimpleNamespace(data=self.edata)).nonzero(as_tuple=True)[0]

    def only(self, chosen):
        """The same nodes with the chosen edges."""
        return EdgeGraph(self.source[chosen], self.target[chosen], self.n_nodes)

    def adjacency_matrix(self, transpose, scipy_fmt):
        """Rows are sources, columns targets."""
        import numpy as np
        from scipy.sparse import coo_matrix

        ends = (self.source.numpy(), self.target.numpy())
        matrix = coo_matrix((np.ones(len(ends[0])), ends), shape=(self.n_nodes, self.n_nodes))
        return matrix.asformat(scipy_fmt)


def measure(request):
    import torch

    torch.set_num_threads(1)
    import_mb = peak_mb()
    started = time.process_time()
    trainer, train, _, test = prepare(request)
    data = train._dataset if request["needs_graph"] else train.dataset
    answer = {
        "tool": "RecBole " + version("recbole"),
        "import_mb": import_mb,
        "packages": {name: version(name) for name in ("torch", "numpy", "scipy", "pandas")},
        "counts": {
            "users": data.user_num - 1,
            "items": data.item_num - 1,
            "train_pairs": len(data.inter_feat),
            **({"triples": len(data.kg_feat)} if request["needs_graph"] else {}),
        },
        "settings": {name: trainer.config[name] for name in SETTINGS if trainer.config[name] is not None},
        "prepare_cpu_s": round(time.process_time() - started, 2),
    }
    before = peak_mb()
    forget_peak()
    if request["what"] == "ranking":
        answer.update(rank(trainer, test))
    else:
        answer.update(epochs(trainer, train, request))
    answer["running_peak_mb"] = peak_mb()
    answer["peak_mb"] = max(before, answer["running_peak_mb"])
    return answer


SETTINGS = (
    "embedding_size",
    "kg_embedding_size",
    "layers",
    "n_layers",
    "n_hop",
    "n_memory",
    "n_iter",
    "neighbor_sample_size",
    "context_hops",
    "n_factors",
    "node_dropout_rate",
    "mess_dropout",
    "learning_rate",
    "train_batch_size",
    "eval_batch_size",
)


def prepare(request):
    """RecBole's trainer and its three loaders; ``options`` of the request stand over those here."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    folder = Path(request["folder"])
    columns = {"inter": ["user_id", "item_id"]}
    if request["needs_graph"]:
        columns |= {"kg": ["head_id", "relation_id", "tail_id"], "link": ["item_id", "entity_id"]}
    options = {
        "data_path": str(folder.parent),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": columns,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "topk": [20],
        "valid_metric": "NDCG@20",
        **request.get("options", {}),
    }
    config = Config(model=request["model"], dataset=folder.name, config_dict=options)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train._dataset)
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model), train, valid, test


def rank(trainer, test):
    started, wall = time.process_time(), time.perf_counter()
    found = trainer.evaluate(test, load_best_model=False)
    return {
        "cpu_s": round(time.process_time() - started, 3),
        "wall_s": round(time.perf_counter() - wall, 3),
        "users": len(test.uid_list),
        "found": {name: float(value) for name, value in found.items()},
    }


class Timed:
    """A loader that notes when each batch is asked for, and ends after the first few."""

    def __init__(self, loader, at_most):
        self.loader, self.at_most, self.shuffle = loader, at_most, loader.shuffle
        self.moments = []

    def __iter__(self):
        self.moments.append(time.process_time())
        for number, batch in enumerate(self.loader):
            if self.at_most is not None and number >= self.at_most:
                return
            yield batch
            self.moments.append(time.process_time())

    def seconds(self):
        """CPU seconds from one batch's asking to the next one's."""
        return [after - before for before, after in pairwise(self.moments)]


def epochs(trainer, train, request):
    """Whole epochs (the least of several), or the first batches of each phase of one."""
    if not request.get("first"):
        seconds = []
        for number in range(request["epochs"]):
            started = time.process_time()
            trainer._train_epoch(train, number)
            seconds.append(time.process_time() - started)
        return {
            "cpu_s": round(min(seconds), 4),
            "epochs_timed": len(seconds),
            "epoch_cpu_s": [round(each, 4) for each in seconds],
        }
    from recbole.trainer import Trainer
    from recbole.utils import KGDataLoaderState

    phases, total = {}, 0.0
    for name, at_most in request["first"].items():
        if request["needs_graph"]:
            train.set_mode(getattr(KGDataLoaderState, name))
        loader = Timed(train, at_most)
        loss = trainer.model.calculate_kg_loss if name == "KG" else None
        Trainer._train_epoch(trainer, loader, 0, loss_func=loss)
        seconds, n_batches = loader.seconds(), len(train)
        later = seconds[1:] or seconds
        estimate = sum(seconds) + (n_batches - len(seconds)) * sum(later) / len(later)
        phases[name] = {
            "batches_timed": len(seconds),
            "of": n_batches,
            "batch_cpu_s": [round(each, 4) for each in seconds],
            "phase_cpu_s": round(estimate, 2),
        }
        total += estimate
    if hasattr(trainer.model, "update_attentive_A"):
        started = time.process_time()
        trainer.model.eval()
        import torch

        with torch.no_grad():
            trainer.model.update_attentive_A()
        phases["attention"] = {"phase_cpu_s": round(time.process_time() - started, 2)}
        total += phases["attention"]["phase_cpu_s"]
    return {"cpu_s": round(total, 2), "phases": phases}


def peak_mb():
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def forget_peak():
    """Let the peak start anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
