"""A scripted server that speaks the chat-completions and embeddings protocol, with faults on demand.

It listens on a loopback port in a thread of its own: the real client is tested over real connections::

    with LanguageServer(answer=lambda body: {"facts": []}) as server:
        server.faults.extend([Fault.status(429, retry_after=1), Fault.reset()])
        model = OpenAIChatModel("scripted", server.base_url, "key")

Faults are used up in order, one per request; then requests are answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
Script = Callable[[Body], "str | dict[str, Any]"]
EMBEDDING_DIMENSION = 8


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong: see the constructors."""

    kind: str
    code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    delay: float = 0.0

    @classmethod
    def status(
        cls, code: int, *, retry_after: float | str | None = None, message: str = "scripted", error: str = ""
    ) -> Fault:
        """An error status with the body that OpenAI sends, and a Retry-After header if given."""
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        body = {"error": {"message": message, "type": "scripted", "code": error or None}}
        return cls("status", code, headers, body)

    @classmethod
    def slow(cls, delay: float) -> Fault:
        """A good answer, ``delay`` seconds late."""
        return cls("slow", delay=delay)

    @classmethod
    def reset(cls) -> Fault:
        """The connection is cut before any byte of the answer."""
        return cls("reset")

    @classmethod
    def cut(cls) -> Fault:
        """The connection is cut in the middle of the body."""
        return cls("cut")

    @classmethod
    def garbage(cls) -> Fault:
        """HTTP 200 and a body that is no JSON, though it says so."""
        return cls("garbage")

    @classmethod
    def text(cls, text: str, *, finish: str = "stop") -> Fault:
        """A completion with this text: malformed JSON, an answer of the wrong form, a truncated one."""
        return cls("text", body={"content": text, "finish": finish})

    @classmethod
    def refusal(cls, words: str = "I cannot help with that") -> Fault:
        """The model refuses."""
        return cls("refusal", body=words)

    @classmethod
    def empty(cls) -> Fault:
        """A completion without choices."""
        return cls("empty")

    @classmethod
    def uncounted(cls) -> Fault:
        """A good answer without a count of tokens."""
        return cls("uncounted")


@dataclass(frozen=True)
class Seen:
    """A request as the server saw it; header names in lower case, arrival in monotonic seconds."""

    path: str
    body: Body
    headers: dict[str, str]
    at: float


class LanguageServer:
    """The server; use it as a context manager. ``latency`` is in seconds, per answer.

    ``reject`` may return a fault for a body, tried before the script: for servers that know less.
    """

    def __init__(
        self,
        answer: Script = lambda body: "hello",
        *,
        latency: float = 0.0,
        reject: Callable[[Body], Fault | None] = lambda body: None,
        port: int = 0,
    ) -> None:
        self.answer = answer
        self.latency = latency
        self.reject = reject
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop: asyncio.Event | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def n_chats(self) -> int:
        return sum(seen.path.endswith("/chat/completions") for seen in self.seen)

    def __enter__(self) -> LanguageServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self._port)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (r.partition(":") for r in rest if r)}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        path = line.split(" ")[1]
        self.seen.append(Seen(path, body, headers, time.monotonic()))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return await self._respond(path, body, writer)
        finally:
            self.in_flight -= 1

    async def _respond(self, path: str, body: Body, writer: asyncio.StreamWriter) -> bool:
        fault = self.faults.popleft() if self.faults else self.reject(body)
        await asyncio.sleep(self.latency + (fault.delay if fault else 0.0))
        if fault is not None and fault.kind == "reset":
            writer.transport.abort()
            return False
        if path.endswith("/embeddings") and (fault is None or fault.kind == "slow"):
            return await self._send(writer, 200, _embeddings(body))
        if fault is None or fault.kind == "slow":
            return await self._send(writer, 200, self._completion(body))
        if fault.kind == "status":
            return await self._send(writer, fault.code, fault.body, fault.headers)
        if fault.kind == "garbage":
            return await self._send(writer, 200, "<html>proxy error</html>")
        if fault.kind == "cut":
            data = json.dumps(self._completion(body)).encode()
            writer.write(_head(200, len(data), {}) + data[: len(data) // 2])
            await writer.drain()
            writer.transport.abort()
            return False
        return await self._send(writer, 200, self._faulty(body, fault))

    def _completion(self, body: Body) -> Body:
        answer = self.answer(body)
        return completion(body, answer if isinstance(answer, str) else json.dumps(answer))

    def _faulty(self, body: Body, fault: Fault) -> Body:
        if fault.kind == "text":
            made = completion(body, fault.body["content"])
            made["choices"][0]["finish_reason"] = fault.body["finish"]
            return made
        if fault.kind == "refusal":
            made = completion(body, "")
            made["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": fault.body}
            return made
        made = self._completion(body)
        if fault.kind == "empty":
            made["choices"] = []
        if fault.kind == "uncounted":
            del made["usage"]
        return made

    async def _send(
        self, writer: asyncio.StreamWriter, code: int, body: Any, headers: dict[str, str] | None = None
    ) -> bool:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        writer.write(_head(code, len(data), headers or {}) + data)
        await writer.drain()
        return True


def completion(body: Body, text: str) -> Body:
    """A chat completion with a count of tokens: four characters to a token."""
    prompt = sum(len(str(message["content"])) for message in body["messages"]) // 4
    answer = max(1, len(text) // 4)
    return {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
        },
    }


def _embeddings(body: Body) -> Body:
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    data = [{"object": "embedding", "index": i, "embedding": embedding(text)} for i, text in enumerate(texts)]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "model": body["model"], "data": data[::-1], "usage": usage}


def embedding(text: str) -> list[float]:
    """The vector that the server gives a text: from its hash."""
    digest = hashlib.sha256(text.encode()).digest()
    return [value / 2**32 for value in struct.unpack(f">{EMBEDDING_DIMENSION}I", digest)]


def _head(code: int, length: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {code} Scripted", "content-type: application/json", f"content-length: {length}"]
    lines.extend(f"{name}: {value}" for name, value in headers.items())
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
