"""What the server answers from: the ledger, the graph it owns, and a trained bundle."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kg.errors import ConfigurationError, LoreError, ServiceUnavailable
from loregraph.explaining import Explanation, explain

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger
    from kg.stores.store import GraphStore
    from recommender.serving.service import Service

FOLLOW_EVERY_S = 0.5


class Serving:
    """The parts behind the routes. The server owns the graph store, and keeps it at the ledger's version."""

    def __init__(
        self, ledger: Ledger, store: GraphStore, service: Service | None, *, bundle: str | None
    ) -> None:
        self.ledger = ledger
        self.store = store
        self.bundle = bundle
        self._service = service
        self._stop = threading.Event()
        self._trouble: str | None = None
        self._follower = threading.Thread(target=self._follow, name="ledger follower", daemon=True)

    def start(self) -> None:
        """Begin to follow the ledger."""
        self._follower.start()

    def close(self) -> None:
        """Stop following; the owner of the ledger and the store closes them."""
        self._stop.set()
        if self._follower.is_alive():
            self._follower.join(timeout=30)

    def _follow(self) -> None:
        from kg.stores.following import follow

        while not self._stop.wait(FOLLOW_EVERY_S):
            try:
                follow(self.ledger, self.store)
                self._trouble = None
            except LoreError as error:
                self._trouble = error.message
            except Exception as error:  # a thread that ended would leave the graph behind for ever
                self._trouble = f"{type(error).__name__}: {error}"

    @property
    def service(self) -> Service:
        """The recommender; raises :class:`~kg.errors.ServiceUnavailable` where there is none."""
        if self._service is None:
            raise ServiceUnavailable(
                "no model is loaded.", hint="Run `lore train MODEL`, then start the server again."
            )
        return self._service

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether the graph shows the ledger's version, and the figures behind that."""
        shown = self.store.version().version
        head = self.ledger.version
        ready = shown == head and self._trouble is None
        return ready, {
            "ready": ready,
            "ledger_version": head,
            "graph_version": shown,
            "bundle": self.bundle,
            "trouble": self._trouble,
        }

    def query(
        self, cypher: str, parameters: Mapping[str, Any], limit: int, timeout_s: float
    ) -> list[dict[str, Any]]:
        """Run a stranger's Cypher: read-only, in a process of its own where the engine is embedded."""
        rows: list[dict[str, Any]] = self.store.query_untrusted(
            cypher, parameters, limit=limit, timeout=timeout_s
        )
        return rows

    def explain(self, user: str, item: str, k: int) -> Explanation:
        """Explain one recommendation with paths and their sentences."""
        return explain(self.service, self.ledger, user, item, k=k)


def refuse_open_door(host: str, key_hashes: tuple[str, ...]) -> None:
    """Refuse to listen beyond loopback without an API key.

    Raises :class:`~kg.errors.ConfigurationError`.
    """
    if host not in ("127.0.0.1", "::1", "localhost") and not key_hashes:
        raise ConfigurationError(
            f"refusing to listen on {host} without an API key.",
            hint="Set [server] key_hashes to the SHA-256 of a key, or listen on 127.0.0.1.",
        )
