"""The twin on Lambda: `bench.twin.on_lambda.handler`."""

from mangum import Mangum

from .app import app

handler = Mangum(app, lifespan="off")
