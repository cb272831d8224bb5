"""gunicorn's settings for one machine, where `make serve-production` starts it.

PORT, WORKERS (processes) and THREADS (of each) come from the environment. It listens on this
machine only: TLS is the business of a proxy in front.
"""

import os

from server.install import announce

wsgi_app = "deploy.wsgi:application"
bind = f"127.0.0.1:{os.environ.get('PORT') or 8000}"
workers = int(os.environ.get("WORKERS") or os.cpu_count() or 1)
worker_class = "gthread"
# A follower of /events?wait=20 has a thread to itself while it waits, and needs little else.
threads = int(os.environ.get("THREADS") or 64)
keepalive = 75  # seconds: more than a proxy keeps an idle connection, so that it is who closes it
graceful_timeout = 30  # the longest answer, a chat's, may end
limit_request_line = 8190
# Imported once, before there are workers: a bad setting ends the start with one sentence.
preload_app = True
control_socket_disable = True


def on_starting(_: object) -> None:
    announce()
