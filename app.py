"""The Chalice app: middleware and blueprints are registered, and nothing else."""

import gc
import os
import sys

# What is imported stays. To look for garbage in it meanwhile takes a quarter of a cold start.
gc.disable()

from chalice.app import Chalice

from db.settings import settings
from handlers import (
    branches,
    changes,
    chat,
    context,
    conversations,
    events,
    exports,
    messages,
    metrics,
    pages,
    projects,
    search,
    service,
    streams,
    tokens,
    trash,
)
from handlers.ai_sdk import chat as ai_sdk_chat
from handlers.http import logs, problems
from handlers.http.headers import CORS
from handlers.http.middleware import serve
from handlers.openai import conversations as openai_conversations
from handlers.openai import errors as openai_errors
from handlers.openai import responses as openai_responses
from handlers.tracing import switch

logs.configure(settings().log_level)
switch.prepare()
if os.environ.get("AWS_CHALICE_CLI_MODE") and "local" in sys.argv:
    # `chalice local` runs this file, too. Lambda has neither the variable nor the package.
    from server import install

    install.install()

app = Chalice(app_name="confab", configure_logs=False)
app.api.cors = CORS
app.api.binary_types = []  # all bodies are text; Chalice would compare each one with each type
app.register_middleware(serve, "http")
problems.dialects["/v1/"] = openai_errors.DIALECT
for module in (
    conversations,
    branches,
    messages,
    streams,
    events,
    context,
    exports,
    chat,
    changes,
    trash,
    search,
    projects,
    tokens,
    metrics,
    ai_sdk_chat,
    openai_conversations,
    openai_responses,
    service,
    pages,
):
    app.register_blueprint(module.routes)

gc.enable()
gc.freeze()  # nor is it looked through later; and gunicorn's workers share its memory
