"""The joint graph of interactions and knowledge, and what models compute on it."""
