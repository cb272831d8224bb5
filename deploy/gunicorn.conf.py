"""gunicorn's settings for one machine, where `make serve-production` starts it.

PORT and WORKERS (processes) come from the environment. It listens on this machine only: put a proxy
in front for TLS.
"""

import os

from server.install import announce

wsgi_app = "app:app"
worker_class = "server.worker.LoopWorker"
bind = f"127.0.0.1:{os.environ.get('PORT') or 8000}"
workers = int(os.environ.get("WORKERS") or os.cpu_count() or 1)
graceful_timeout = 30  # seconds: the longest answer, a chat's, may end
# Imported once, before there are workers: a bad setting ends the start with one sentence.
preload_app = True
control_socket_disable = True


def on_starting(_: object) -> None:
    announce()
