"""Start the REST server over a workspace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kg.errors import ConfigurationError
from loregraph.api.serving import Serving, refuse_open_door
from loregraph.workspace import Workspace

if TYPE_CHECKING:
    from recommender.serving.service import Service


def run(
    workspace: Workspace,
    *,
    host: str | None,
    port: int | None,
    bundle: str | None,
    announce: Callable[[str], None],
) -> None:
    """Serve until interrupted. ``announce`` is told the address once the socket listens.

    Raises :class:`~kg.errors.ConfigurationError` for an open door without a key, and
    :class:`~kg.errors.StoreLocked` where another process owns the graph.
    """
    import socket

    import uvicorn

    from loregraph.api.app import create_app

    settings = workspace.settings.server
    host, port = host or settings.host, settings.port if port is None else port
    refuse_open_door(host, settings.key_hashes)
    service, name = _open_service(workspace, bundle, announce)
    with workspace.ledger() as ledger, workspace.store(ledger) as store:
        serving = Serving(ledger, store, service, bundle=name)
        app = create_app(serving, settings)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((host, port))
            except OSError as problem:
                raise ConfigurationError(
                    f"cannot listen on {host}:{port}: {problem.strerror}.", hint="Choose another --port."
                ) from None
            announce(f"serving http://{host}:{listening.getsockname()[1]} (API: /openapi.json)")
            serving.start()
            try:
                uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
            finally:
                serving.close()


def _open_service(
    workspace: Workspace, bundle: str | None, announce: Callable[[str], None]
) -> tuple[Service | None, str | None]:
    from recommender.serving.service import Service

    if bundle is None and not workspace.latest_path.is_file():
        announce("no model is trained yet: recommendations will answer 503 until `lore train` and a restart")
        return None, None
    path = workspace.bundle(bundle)
    return Service.open(path), path.name
