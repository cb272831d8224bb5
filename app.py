"""The Chalice app: middleware and blueprints registered, nothing else."""

from chalice.app import Chalice

from db.settings import settings
from handlers import chat, conversations, messages, projects, service, streams
from handlers.http import local, logs
from handlers.http.middleware import CORS, serve

logs.configure(settings().log_level)
local.tune()

app = Chalice(app_name="confab", configure_logs=False)
app.api.cors = CORS
app.api.binary_types = []  # all is text here; Chalice compares each response with each type
app.register_middleware(serve, "http")
for module in (conversations, messages, streams, chat, projects, service):
    app.register_blueprint(module.routes)
