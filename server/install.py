"""How `chalice local` gets this server: `app.py` calls `install` under Chalice's command line."""

import sys
from collections.abc import Callable
from functools import partial

import chalice.local

from db.engine.connect import store_at
from db.settings import SettingsError, settings, stop

from .gateway import Gateway
from .local import LocalServer


def install() -> None:
    """Let `chalice local` serve with our server, and say where the data is."""
    # The reloader takes any new file for a change of the code. One such file is the bytecode of a
    # module that the first request imports.
    sys.dont_write_bytecode = True
    chalice.local.LocalDevServer = partial(
        chalice.local.LocalDevServer, handler_cls=Gateway, server_cls=open_server
    )
    announce()


def open_server(address: tuple[str, int], gateway: Callable[[], Gateway]) -> LocalServer:
    """The server, which says where the console is."""
    server = LocalServer(address, gateway)
    if settings().console:
        host, port = server.socket.getsockname()
        name = "localhost" if host == "127.0.0.1" else host
        print(f"The console is at http://{name}:{port}/console", flush=True)
    return server


def announce() -> None:
    """Say where the data is, or end the start with one sentence."""
    try:
        print(f"Conversations are kept in {store_at(settings().database_url).place}", flush=True)
    except SettingsError as error:
        stop(error)
