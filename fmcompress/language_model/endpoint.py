"""A language model behind an OpenAI-compatible address, with the standard library alone."""

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..errors import ConfigError, LanguageModelError, in_one_line
from .protocol import Score
from .settings import Settings

KEY_VARIABLE = "FMCOMPRESS_API_KEY"
OPENAI = ("https://api.openai.com/", "OPENAI_API_KEY")  # whose key goes to nobody else
AGAIN = (408, 429, 500, 502, 503, 504)  # HTTP statuses that may pass
LONGEST_PAUSE_S = 60.0
Found = TypeVar("Found")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection is an error: followed, it would hand the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class EndpointLanguageModel:
    """A model that a server offers, such as vLLM, llama.cpp, Ollama or a provider.

    url           http(s)://HOST/v1; with /completions at its end prompts are sent as they are, else as a chat's message
    model         as the server names it
    key_variable  of the environment, that holds the key; default FMCOMPRESS_API_KEY, and for api.openai.com
                  OPENAI_API_KEY. Without it none is sent. The key is never shown or written
    timeout_s     of a request
    retries       of a request that met no server, status 429 or an error of the server, after 1, 2, 4, ... seconds or
                  as long as the server says, at most a minute
    parallel      requests at a time
    sleep         what waits between tries

    Raises ConfigError for an address that is none.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str | None = None,
        timeout_s: float = 120.0,
        retries: int = 4,
        parallel: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not url.startswith(("http://", "https://")) or not model:
            raise ConfigError(f"language model: expected http(s)://HOST/v1#MODEL, got {url!r} and {model!r}.")
        if not _is_plain(url):
            raise ConfigError(
                "language model: expected an address without user, password, query or odd signs, since it is written "
                f"into files. Give the key in {KEY_VARIABLE}."
            )
        if retries < 0:
            raise ConfigError(f"retries: expected at least 0, got {retries}.")
        base = url.rstrip("/")
        self.chat = base.endswith("/chat/completions") or not base.endswith("/completions")
        self.base = base.removesuffix("/completions").removesuffix("/chat")
        self.model, self.timeout_s, self.retries, self.sleep = model, timeout_s, retries, sleep
        self.parallel = max(1, parallel)
        self.name = f"{self.base}#{model}"
        own = OPENAI[1] if url.startswith(OPENAI[0]) else KEY_VARIABLE
        self.key_variable = key_variable or own
        self._opener = urllib.request.build_opener(_NoRedirect)

    def generate(self, prompts: Sequence[str], **settings: Any) -> list[list[str]]:
        """See LanguageModel.generate. Whether equal seeds give equal texts is up to the server."""
        wanted = Settings(**settings)
        return self._at_once(lambda prompt: self._samples(prompt, wanted), prompts)

    def score(self, prefix: str, continuations: Sequence[str]) -> list[Score]:
        """See LanguageModel.score, from the log probabilities that a server's completions give of the prompt itself
        (`echo`): vLLM does so, most providers do not. A token that lies across the boundary counts to the continuation.
        """
        return self._at_once(lambda text: self._score(prefix, text), continuations)

    def _at_once(self, ask: Callable[[str], Found], texts: Sequence[str]) -> list[Found]:
        """In their order; the first error ends it, when the requests that are on their way have ended."""
        with ThreadPoolExecutor(self.parallel) as pool:
            asked = [pool.submit(ask, text) for text in texts]
            try:
                return [one.result() for one in asked]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _samples(self, prompt: str, wanted: Settings) -> list[str]:
        body: dict[str, Any] = {"model": self.model, "max_tokens": wanted.max_tokens, "temperature": wanted.temperature}
        body |= {"messages": [{"role": "user", "content": prompt}]} if self.chat else {"prompt": prompt}
        body |= {"top_p": wanted.top_p} if wanted.top_p < 1 else {}
        body |= {"stop": list(wanted.stop)} if wanted.stop else {}
        texts: list[str] = []
        while len(texts) < wanted.different:  # many servers send one text, whatever n is
            n, seed = wanted.different - len(texts), wanted.seed + len(texts)
            choices = self._choices("chat/completions" if self.chat else "completions", {**body, "n": n, "seed": seed})
            texts += [wanted.cut(self._text(choice)) for choice in choices[:n]]
        return wanted.repeated(texts)

    def _text(self, choice: dict[str, Any]) -> str:
        message = choice.get("message")
        text = (message if isinstance(message, dict) else {}).get("content") if self.chat else choice.get("text")
        if not isinstance(text, str):
            raise self._error(f"expected a text, got {in_one_line(json.dumps(choice), 120)}")
        return text

    def _score(self, prefix: str, text: str) -> Score:
        body = {"model": self.model, "prompt": prefix + text, "max_tokens": 0, "temperature": 0.0}
        choice = self._choices("completions", {**body, "echo": True, "logprobs": 1})[0]
        found = choice.get("logprobs") or {}
        try:
            starts, ends = found["text_offset"], [*found["text_offset"][1:], len(prefix) + len(text)]
            rows = zip(starts, ends, found["token_logprobs"], strict=True)
            wanted = [chance for begin, end, chance in rows if begin < len(prefix + text) and end > len(prefix)]
            score = Score(float(sum(wanted)), len(wanted))
        except (KeyError, TypeError, ValueError, IndexError):
            score = Score(0.0, 0)
        if not score.tokens:
            raise self._error(
                "gives no log probabilities of a prompt (echo with logprobs). Take a server that does, as vLLM, or a "
                "model in a folder"
            )
        return score

    def _choices(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self._ask(path, body)
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
            raise self._error(f"expected JSON with choices, got {in_one_line(json.dumps(answer), 120)}")
        return choices

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        for attempt in range(self.retries + 1):
            pause = min(2.0**attempt, LONGEST_PAUSE_S)
            try:
                raw = self._post(path, body)
            except urllib.error.HTTPError as error:
                told = self._error(f"HTTP {error.code}: {in_one_line(_read(error), 200)}")
                if error.code not in AGAIN:
                    raise told from None
                pause = _retry_after(error, pause)
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None) or error
                told = self._error(f"no answer ({in_one_line(str(reason) or type(reason).__name__, 160)})")
            else:
                try:
                    return json.loads(raw)
                except (ValueError, RecursionError):
                    shown = in_one_line(raw[:500].decode(errors="replace"), 120)
                    raise self._error(f"expected JSON, got {shown!r}") from None
            if attempt < self.retries:
                self.sleep(pause)
        raise told

    def _post(self, path: str, body: dict[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(f"{self.base}/{path}", json.dumps(body).encode(), headers)
        with self._opener.open(request, timeout=self.timeout_s) as answer:
            return bytes(answer.read())

    @property
    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"{self.key_variable}: holds characters that no key has. Set it again.")
        return key

    def _error(self, told: str) -> LanguageModelError:
        told = told.replace(self._key, "…") if self._key else told  # a server may repeat what it was sent
        return LanguageModelError(f"{self.name}: {told}.")


def _read(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(2000).decode(errors="replace")
    except OSError:
        return str(error.reason)


def _retry_after(error: urllib.error.HTTPError, otherwise: float) -> float:
    try:
        return min(max(float(error.headers["Retry-After"]), 0.0), LONGEST_PAUSE_S)
    except (TypeError, ValueError):
        return otherwise


def _is_plain(url: str) -> bool:
    """Whether an address names a host and nothing that is secret."""
    try:
        parts = urllib.parse.urlsplit(url)
        return bool(parts.hostname) and url.isascii() and "@" not in parts.netloc and not parts.query
    except ValueError:
        return False
