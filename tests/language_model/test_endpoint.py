"""An OpenAI-compatible server of this test: what is sent, and what becomes of each way in which it fails."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from fmcompress.errors import ConfigError, LanguageModelError
from fmcompress.language_model import EndpointLanguageModel, Score, language_model

KEY = "sk-very-secret"


class Server(ThreadingHTTPServer):
    """Answers with what `replies` holds, in turn, each (status, body, headers); remembers what it was sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies, self.seen = [], []
        self.answer = lambda body: self.replies.pop(0)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body, dict(self.headers)))
        status, answer, headers = self.server.answer(body)
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("FMCOMPRESS_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    one = Server()
    Thread(target=one.serve_forever, args=(0.01,), daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


def chat(*texts):
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}} for text in texts]}, {}


def test_a_chat_is_asked_with_all_settings(server):
    server.replies = [chat("one END two", "three"), chat("four")]
    model = language_model(f"{server.url}#small")
    asked = {"max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "seed": 3}
    assert model.generate(["Hello"], samples=3, **asked) == [["one ", "three", "four"]]
    path, body, headers = server.seen[0]
    assert (path, headers["Authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    expected = {"model": "small", "n": 3, "messages": [{"role": "user", "content": "Hello"}]}
    assert body == {**expected, **asked}
    assert (server.seen[1][1]["n"], server.seen[1][1]["seed"]) == (1, 5)  # what the server left out
    assert model.name == f"{server.url}#small"


def test_answers_come_in_the_order_of_the_prompts(server):
    server.answer = lambda body: chat(body["messages"][0]["content"].upper())
    prompts = [f"prompt {n}" for n in range(20)]
    assert EndpointLanguageModel(server.url, "m").generate(prompts) == [[prompt.upper()] for prompt in prompts]
    server.answer = lambda body: chat("x") if body["messages"][0]["content"] != "prompt 9" else (400, b"no", {})
    with pytest.raises(LanguageModelError, match="HTTP 400: no"):
        EndpointLanguageModel(server.url, "m").generate(prompts)


def test_completions_send_prompts_as_they_are(server):
    server.replies = [(200, {"choices": [{"text": " world"}]}, {})]
    model = language_model(f"{server.url}/completions#small")
    assert model.generate(["Hello"], samples=2) == [[" world", " world"]]  # greedy: one is asked for
    path, body, _ = server.seen[0]
    assert (path, body["prompt"]) == ("/v1/completions", "Hello")
    assert "messages" not in body
    assert len(server.seen) == 1


def test_no_key_is_sent_without_one(server, monkeypatch):
    monkeypatch.delenv("FMCOMPRESS_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # of somebody else
    server.replies = [chat("x")]
    EndpointLanguageModel(server.url, "m").generate(["p"])
    assert "Authorization" not in server.seen[0][2]
    assert EndpointLanguageModel("https://api.openai.com/v1", "m").key_variable == "OPENAI_API_KEY"


def test_a_busy_server_is_asked_again(server):
    server.replies = [(429, b"slow down", {"Retry-After": "3"}), (503, b"", {}), chat("at last")]
    pauses = []
    assert EndpointLanguageModel(server.url, "m", sleep=pauses.append).generate(["p"]) == [["at last"]]
    assert pauses == [3.0, 2.0]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ((401, f"no such key {KEY}".encode(), {}), r"HTTP 401: no such key …\."),
        ((404, b"", {}), "HTTP 404"),
        ((302, b"", {"Location": "http://127.0.0.1:1/"}), "HTTP 302"),
        ((200, b"<html>welcome</html>", {}), "expected JSON, got '<html>welcome</html>'"),
        ((200, b"\xff\xfe\x00", {}), "expected JSON"),
        ((200, {"error": "x"}, {}), 'expected JSON with choices, got {"error": "x"}'),
        ((200, [], {}), "expected JSON with choices"),
        ((200, {"choices": []}, {}), "expected JSON with choices"),
        ((200, {"choices": ["x"]}, {}), "expected JSON with choices"),
        ((200, {"choices": [{"message": {"content": None}}]}, {}), "expected a text"),
        ((200, {"choices": [{"message": "x"}]}, {}), "expected a text"),
    ],
)
def test_rubbish_is_told_in_one_line(server, reply, told):
    server.replies = [reply]
    with pytest.raises(LanguageModelError, match=told) as error:
        EndpointLanguageModel(server.url, "m").generate(["p"])
    assert KEY not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_that_stays_busy_or_is_not_there(server):
    server.replies = [(500, b"out of order", {})] * 3
    pauses = []
    model = EndpointLanguageModel(server.url, "m", retries=2, sleep=pauses.append)
    with pytest.raises(LanguageModelError, match="HTTP 500: out of order"):
        model.generate(["p"])
    assert pauses == [1.0, 2.0]
    gone = EndpointLanguageModel("http://127.0.0.1:9/v1", "m", retries=1, sleep=pauses.append)
    with pytest.raises(LanguageModelError, match=r"127.0.0.1:9/v1#m: no answer \(.*refused"):
        gone.generate(["p"])


def test_an_answer_that_breaks_off(server):
    server.replies = [(200, b"{", {"Content-Length": "500"})]
    with pytest.raises(LanguageModelError, match="no answer"):
        EndpointLanguageModel(server.url, "m", retries=0, timeout_s=1).generate(["p"])


def test_scores_are_of_the_tokens_past_the_prefix(server):
    logprobs = {"text_offset": [0, 3, 4, 8, 10], "token_logprobs": [None, -1.0, -2.0, -0.5, -9.0]}
    server.replies = [(200, {"choices": [{"text": "", "logprobs": logprobs}]}, {})]
    assert EndpointLanguageModel(server.url, "m").score("The ", [" cat s"]) == [Score(-2.5, 2)]
    body = server.seen[0][1]
    assert (body["prompt"], body["echo"], body["max_tokens"]) == ("The  cat s", True, 0)


@pytest.mark.parametrize("logprobs", [None, {}, {"text_offset": [0, 4], "token_logprobs": [None]}])
def test_servers_without_scores_say_so(server, logprobs):
    server.replies = [(200, {"choices": [{"text": "x", "logprobs": logprobs}]}, {})]
    with pytest.raises(LanguageModelError, match="gives no log probabilities"):
        EndpointLanguageModel(server.url, "m").score("The", ["cat"])


def test_addresses_and_keys_that_are_none(monkeypatch):
    for url, model in (("ftp://x/v1", "m"), ("http://x/v1", "")):
        with pytest.raises(ConfigError, match="http\\(s\\)://HOST/v1#MODEL"):
            EndpointLanguageModel(url, model)
    monkeypatch.setenv("FMCOMPRESS_API_KEY", "a\nb")
    with pytest.raises(ConfigError, match="FMCOMPRESS_API_KEY: holds characters") as error:
        EndpointLanguageModel("http://127.0.0.1:9/v1", "m").generate(["p"])
    assert "a\nb" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["http://user:secret@host/v1", "http://host/v1?api-key=secret", "http://[bad/v1", "http://hôte/v1", "http://"],
)
def test_an_address_that_holds_a_secret_or_is_none_is_refused(url):
    with pytest.raises(ConfigError) as told:
        EndpointLanguageModel(url, "m")
    assert "secret" not in str(told.value)
