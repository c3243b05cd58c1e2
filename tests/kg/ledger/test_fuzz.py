"""Random histories of the ledger against the oracle."""

import pytest

from tests.kg.ledger.fuzz import Counts, run_fuzz

SEEDS = 125
OPERATIONS = 80


@pytest.mark.slow
def test_ten_thousand_random_operations_agree_with_the_oracle() -> None:
    counts = Counts()
    for seed in range(SEEDS):
        counts.add(run_fuzz(seed, OPERATIONS))
    assert counts.operations >= 10_000
    assert min(counts.torn, counts.rolled_back, counts.undone, counts.decisions, counts.dropped) >= 200


@pytest.mark.parametrize("seed", range(1000, 1004))
def test_random_histories_agree_with_the_oracle(seed: int) -> None:
    assert run_fuzz(seed, 60).compared >= 10


def test_torn_deltas_may_also_be_staged() -> None:
    assert run_fuzz(7, 60, tear="staged").torn > 0
