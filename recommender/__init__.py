"""Data, models, training and evaluation of recommenders, and their service."""

import os

# torch reads this at its first tensor. Without huge pages mapping a table of 50 MB takes longer than filling it.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
