"""The configuration, read from the environment once. Every layer uses it."""

import os
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import NoReturn

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

# Set by the Lambda runtime, never by a person.
ON_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME"


class SettingsError(Exception):
    """One sentence that names the setting and what to change."""


class Settings(BaseModel):
    """A field `max_wait` is the environment variable MAX_WAIT. README's table is made of them."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: str | None = Field(
        default=None,
        pattern="^(sqlite:///|postgres(ql)?://)",
        description="Where the rows are: `sqlite:////absolute/path.db`, with `?journal_mode=` and "
        "`&synchronous=` if the defaults (`wal`, `full`) do not fit, or "
        "`postgresql://user:password@host/name`, with any of libpq's parameters. Default: a file "
        "in the user's data directory, which the server prints when it starts. Required on Lambda.",
    )
    require_api_key: bool = Field(
        default=True,
        description="Whether the `/api/…` routes need a key. The `/projects/…` routes always "
        "do. The `dev` stage sets `false`.",
    )
    console: bool = Field(
        default=True,
        description="Whether `/console` and `/docs` are there. With `false` they are 404.",
    )
    stream_timeout: float = Field(
        default=60,
        gt=0,
        le=86_400,
        description="Seconds of silence after which a writer counts as gone and its message reads "
        "`incomplete`.",
    )
    max_wait: float = Field(
        default=20,
        ge=0,
        le=20,
        description="The most seconds that `/events?wait=` keeps a follower waiting. The `efs` "
        "stage sets `0`: there, one instance serves everybody.",
    )
    trash_days: float = Field(
        default=30,
        ge=0,
        le=36_500,
        description="Days after which a deleted conversation is purged. With `0`, it is purged at "
        "once. Fractions are allowed.",
    )
    retention_days: float | None = Field(
        default=None,
        gt=0,
        le=36_500,
        description="Days without activity after which a conversation is put into the trash. "
        "Default: never. Fractions are allowed.",
    )
    oidc_issuer: str | None = Field(
        default=None,
        pattern=r"^(https://[^\s?#@\[\]]+|http://(localhost|127\.0\.0\.1)(:\d+)?(/[^\s?#]*)?)$",
        description="The URL of an OpenID Connect provider, as its tokens name it (`iss`). Its "
        "users' own ID and access tokens are bearer tokens then. Default: there is no provider.",
    )
    oidc_audience: str | None = Field(
        default=None,
        description="Whom such a token has to be for (`aud`): the name that this API has at the "
        "provider, or the client id of the app. Several are separated by spaces.",
    )
    oidc_user_claim: str = Field(
        default="sub",
        description="The claim that has the user's id. `email` counts only if it is verified.",
    )
    oidc_project_claim: str | None = Field(
        default=None, description="The claim that has the one project that a token opens."
    )
    oidc_project: str | None = Field(
        default=None,
        max_length=255,
        description="The one project that each of these tokens opens. With neither of the two, a "
        "token opens what is its user's in all projects.",
    )
    oidc_client_id: str | None = Field(
        default=None,
        description="The console's client id at the provider: with it, people sign in there. It is "
        "one of the audiences, too.",
    )
    rate_limit: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="The most requests in a minute of each key and user, in each process. Further "
        "ones get a 429 with `Retry-After`. Default: no limit.",
    )
    chat_base_url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="The URL of an OpenAI-compatible server, without `/chat/completions`. If it is "
        "not set, a built-in echo answers.",
    )
    chat_api_key: SecretStr | None = Field(
        default=None, description="The key for that server, sent as `Authorization: Bearer …`."
    )
    chat_model: str = Field(default="gpt-4o-mini", description="The name of the model.")
    chat_context_tokens: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="The most tokens, by a cautious estimate, that a model is told of a "
        "conversation. System messages and the question are told in any case.",
    )
    chat_timeout: float = Field(
        default=25,
        gt=0,
        le=86_400,
        description="The most seconds that a whole answer may take, and the longest silence in it. "
        "API Gateway gives up after 29.",
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        default=None,
        pattern="^https?://",
        description="The URL of an OpenTelemetry collector, such as `http://localhost:4318`, which "
        "is sent a span for each request and each call of a model. OpenTelemetry's other variables "
        "work, too. Default: no spans.",
    )
    only_route: str | None = Field(
        default=None,
        description="The one route that a function of `build/per-function.json` serves, such as "
        "`GET /health`. The template sets it. Default: all routes.",
    )
    log_level: str = Field(
        default="INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="With `WARNING`, the log has no line for each request.",
    )

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """The settings in `environment`. An empty value counts as unset. Raises SettingsError."""
        given = {name: environment.get(name.upper()) or None for name in cls.model_fields}
        try:
            read = cls(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]).upper()
            raise SettingsError(f"{name} is not usable: {first['msg']}.") from None
        read._refuse_half_a_provider()
        return read

    @property
    def oidc_audiences(self) -> list[str]:
        """Whom a provider's token may be for."""
        own = [] if self.oidc_client_id is None else [self.oidc_client_id]
        return [*(self.oidc_audience or "").split(), *own]

    def _refuse_half_a_provider(self) -> None:
        """Raises SettingsError if what is said of a provider does not fit together."""
        if self.oidc_issuer is not None and not self.oidc_audiences:
            raise SettingsError(
                "OIDC_ISSUER needs OIDC_AUDIENCE, or it would let in the users of any app that "
                "signs on there: name whom a token has to be for."
            )
        if self.oidc_issuer is not None and find_spec("jwt") is None:
            raise SettingsError(
                "OIDC_ISSUER needs PyJWT, which is not here. For Lambda, set OIDC_ISSUER in "
                ".chalice/config.json and package again."
            )
        for name in ("oidc_audience", "oidc_client_id", "oidc_project", "oidc_project_claim"):
            if self.oidc_issuer is None and getattr(self, name) is not None:
                raise SettingsError(f"{name.upper()} needs OIDC_ISSUER: name the provider.")
        if self.oidc_project is not None and self.oidc_project_claim is not None:
            raise SettingsError("Set OIDC_PROJECT or OIDC_PROJECT_CLAIM, and not both.")


@cache
def settings() -> Settings:
    """This process's settings. A bad value ends the process with one sentence."""
    try:
        return Settings.read(os.environ)
    except SettingsError as error:
        stop(error)


def stop(error: SettingsError) -> NoReturn:
    """End the process with one sentence."""
    # Print it, too: Chalice's reloader imports the app in a thread, where SystemExit is silent.
    print(f"confab: {error}", file=sys.stderr)
    raise SystemExit(2) from None
