"""A local Lambda runtime: AWS's runtime client runs an unpacked zip."""

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from typing import Any

RUNTIME_CLIENT = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")
MAX_RESPONSE = 6_291_556  # bytes: Lambda's limit for a whole response as JSON
PATIENCE = 30  # seconds
REGION = "us-east-1"


class FunctionError(Exception):
    """The function raised, did not start, or answered too much. The message is Lambda's."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['errorType']}: {error['errorMessage']}")
        self.type: str = error["errorType"]


class Instance:
    """One execution environment of a function. Creating it starts its process.

    The process finds the zip's content, `awslambdaric` and the standard library, and nothing else.
    """

    def __init__(
        self, task: Path, handler: str = "app.app", environment: Mapping[str, str] | None = None
    ) -> None:
        self.cold_start: float | None = None  # seconds from its start to its first answer
        self._events: Queue[tuple[str, bytes] | None] = Queue()
        self._answers: Queue[tuple[str, bytes]] = Queue()
        self._server = RuntimeApi(self._events, self._answers)
        self._folder = TemporaryDirectory(prefix="lambda-runtime-")
        runtime = Path(self._folder.name)
        self._log = runtime / "log"
        for name in RUNTIME_CLIENT:
            module = place_of(name)
            (runtime / module.name).symlink_to(module)
        self._started = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-m", "awslambdaric", handler],
                cwd=task,
                env={
                    **(environment or {}),
                    "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
                    "AWS_LAMBDA_FUNCTION_NAME": handler,
                    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                    "AWS_EXECUTION_ENV": "AWS_Lambda_python{}.{}".format(*sys.version_info),
                    "AWS_REGION": REGION,
                    "LAMBDA_TASK_ROOT": str(task),
                    "LANG": "en_US.UTF-8",
                    "PYTHONPATH": f"{task}:{runtime}",
                    "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's task root is read-only
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def invoke(self, event: Any) -> Any:
        """What the function answers to `event`. Raises FunctionError."""
        self._events.put((str(uuid.uuid4()), json.dumps(event).encode()))
        try:
            kind, answer = self._answers.get(timeout=PATIENCE)
        except Empty:
            raise TimeoutError(f"no answer in {PATIENCE} s; its log: {self.log}") from None
        if self.cold_start is None:
            self.cold_start = time.perf_counter() - self._started
        if kind == "error":
            raise FunctionError(json.loads(answer))
        return json.loads(answer)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """All that the process has printed and logged."""
        return self._log.read_text()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._events.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def __enter__(self) -> "Instance":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class RuntimeApi(ThreadingHTTPServer):
    """The HTTP server that hands events to a runtime client and takes its answers.

    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
    """

    daemon_threads = True

    def __init__(
        self, events: Queue[tuple[str, bytes] | None], answers: Queue[tuple[str, bytes]]
    ) -> None:
        super().__init__(("127.0.0.1", 0), RuntimeApiHandler)
        self.events, self.answers = events, answers
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connection errors: `close` kills the client, usually between two requests."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class RuntimeApiHandler(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:  # /2018-06-01/runtime/invocation/next
        invocation = self.server.events.get()
        if invocation is None:
            self.close_connection = True
            return
        request_id, event = invocation
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + PATIENCE) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:{REGION}:123456789012:function",
            "Content-Type": "application/json",
        }
        self._answer(200, event, headers)

    def do_POST(self) -> None:  # …/invocation/{id}/response, …/{id}/error, …/runtime/init/error
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.path.rpartition("/")[2]
        if too_large := len(body) > MAX_RESPONSE:
            error = {
                "errorType": "Function.ResponseSizeTooLarge",
                "errorMessage": f"the response has {len(body)} of {MAX_RESPONSE} bytes",
            }
            kind, body = "error", json.dumps(error).encode()
        self.server.answers.put((kind, body))
        self._answer(413 if too_large else 202, b"{}", {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Print nothing: the function has its own log."""


class Function:
    """A function with as many instances as it needs.

    Like on Lambda, an instance handles one event at a time. `invoke` starts another one when all
    are busy.
    """

    def __init__(
        self, task: Path, handler: str = "app.app", environment: Mapping[str, str] | None = None
    ) -> None:
        self._of = (task, handler, environment)
        self._idle: list[Instance] = []
        self.instances: list[Instance] = []

    def invoke(self, event: Any) -> Any:
        """What an instance answers to `event`. Raises FunctionError."""
        try:
            instance = self._idle.pop()
        except IndexError:
            instance = Instance(*self._of)
            self.instances.append(instance)
        answer = instance.invoke(event)
        self._idle.append(instance)  # an error may end the instance, so it is not reused after one
        return answer

    def close(self) -> None:
        for instance in self.instances:
            instance.close()


def place_of(module: str) -> Path:
    """Return the path of an installed module: its folder or its file."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
