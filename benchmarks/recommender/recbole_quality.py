"""The peer's half of ``quality.py``: trains RecBole's models and writes the lists that they recommend.

    PEER_PYTHON recbole_quality.py REQUEST.json ANSWER.json

The environment and what is put in place of what RecBole lacks are those of ``recbole_peer.py``, and one more:
``torch.load`` reads RecBole's own checkpoints whole again, as it did before torch 2.6.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from recbole_peer import fill_gaps, prepare


def main() -> None:
    request_path, answer_path = (Path(argument).resolve() for argument in sys.argv[1:3])
    request = json.loads(request_path.read_text(encoding="utf-8"))
    sys.argv = sys.argv[:1]  # RecBole takes options from there
    fill_gaps()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it writes logs and checkpoints to where it runs
        answer = best_of(request)
    answer_path.write_text(json.dumps(answer), encoding="utf-8")


def best_of(request):
    """Every trial trained; the lists of the one that the validation part likes best."""
    import torch

    torch.set_num_threads(1)
    load = torch.load
    torch.load = lambda *arguments, **named: load(*arguments, **{**named, "weights_only": False})
    best, trials = None, []
    for options in request["trials"]:
        started = time.process_time()
        validation, lists = one(request, options)
        trials.append(
            {"options": options, "validation": validation, "cpu_s": round(time.process_time() - started, 1)}
        )
        print(f"  RecBole {request['model']} {trials[-1]}", file=sys.stderr, flush=True)
        if best is None or validation > best[0]:
            best = validation, lists
    return {"trials": trials, "lists": best[1]}


def one(request, options):
    from recbole.utils.case_study import full_sort_topk

    given = {
        "metrics": ["NDCG", "Recall"],
        "epochs": request["epochs"],
        "eval_step": request["every"],
        "stopping_step": request["patience"],
        **options,
    }
    trainer, train, valid, test = prepare({**request, "options": given})
    dataset = train._dataset
    validation, _ = trainer.fit(train, valid, show_progress=False)
    trainer.evaluate(test, load_best_model=True, show_progress=False)  # loads the best epoch
    lists = {}
    for start in range(0, len(test.uid_list), 256):
        users = test.uid_list[start : start + 256].numpy()
        _, items = full_sort_topk(users, trainer.model, test, 20, trainer.config["device"])
        names = dataset.id2token("item_id", items.cpu().numpy())
        lists.update(zip(dataset.id2token("user_id", users).tolist(), names.tolist(), strict=True))
    return float(validation), lists


if __name__ == "__main__":
    main()
