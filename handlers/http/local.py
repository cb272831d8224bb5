"""What `chalice local` needs to be a good development server.

On Lambda there is no `chalice.local`, and Chalice's command line, which sets the variable, does
not run.
"""

import os
import sys

from db.database import store_at
from db.settings import SettingsError, settings, stop


def tune() -> None:
    """Make keep-alive connections fast, leave one log line a request, say where the data is."""
    if not os.environ.get("AWS_CHALICE_CLI_MODE") or "local" not in sys.argv:
        return
    from chalice.local import ChaliceRequestHandler, ThreadedHTTPServer

    # The reloader takes any new file for a change of the code: the bytecode, too, of a module that
    # is imported by the first request to need it.
    sys.dont_write_bytecode = True
    # Head and body are written apart; Nagle's algorithm holds the second back until the client's
    # delayed acknowledgement: 43 ms for each request on a connection, against 0.14 ms.
    ChaliceRequestHandler.disable_nagle_algorithm = True
    # Written together they are one packet: a fifth more requests a second.
    ChaliceRequestHandler.wbufsize = -1
    # Clients that find the queue full wait a second for TCP to try again: with 100 at once and a
    # queue of 5, Python's default, the slowest waited 1.7 s; now 0.3.
    ThreadedHTTPServer.request_queue_size = 128
    # The app logs each request, as JSON and with its id.
    ChaliceRequestHandler.log_request = lambda *args, **kwargs: None
    announce()


def announce() -> None:
    """Say where the data is, or end the start with one sentence."""
    try:
        print(f"Conversations are kept in {store_at(settings().database_url).place}", flush=True)
    except SettingsError as error:
        stop(error)
