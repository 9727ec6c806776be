"""Code for Triton's interpreter, which must be asked for before Triton is imported: a process that has imported
everything forks another for each piece of code, which then starts at once and changes nothing for the next."""

import atexit
import json
import os
import subprocess
import sys
import traceback
from functools import cache
from pathlib import Path


def serve(imports: str) -> None:
    """For every line of standard input, a string in JSON, one in standard output: what went wrong, or an empty one."""
    names: dict[str, object] = {}
    exec(imports, names)
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)  # what the code prints is no answer
            text = _run(json.loads(line), names)
            with os.fdopen(writing, "w") as pipe:
                pipe.write(text)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            text = pipe.read()
        status = os.waitpid(child, 0)[1]
        print(json.dumps(text or (f"it ended with {status}" if status else "")), flush=True)


def _run(code: str, names: dict[str, object]) -> str:
    try:
        exec(code, names)
    except BaseException:
        return traceback.format_exc()
    return ""


@cache
def _server(imports: str) -> subprocess.Popen[str]:
    """Started once in a process of pytest."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-c", f"import interpreter_server as s; s.serve({imports!r})"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    server = subprocess.Popen(command, cwd=Path(__file__).parent, env=environment, **pipes)
    atexit.register(server.communicate)
    return server


def failure(imports: str, code: str) -> str:
    """What goes wrong with the code, with these imports before it; empty if nothing does."""
    server = _server(imports)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(code) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    return json.loads(answer) if answer else f"the server has ended with {server.wait()}"
