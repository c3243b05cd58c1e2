"""Data, models, training and evaluation of recommenders, and their service."""

import os

# torch reads this at its first tensor. A table of 50 MB takes longer to map than to fill
# where pages are small.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
