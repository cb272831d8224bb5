"""JSON schemas for the API's page: of bodies, of answers, and of what all requests have."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from .caller import MAX_USER_ID
from .endpoint import Endpoint, Headers
from .idempotency import MAX_KEY

REF = "#/components/schemas/{model}"
Json = dict[str, Any]
# Of an endpoint's body ("validation") and of its answer ("serialization").
Schemas = dict[tuple[Endpoint | None, JsonSchemaMode], Json]


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int] = Field(description="`body`, `query`, `path` or `header`, and where in it")
    msg: str
    type: str


class Problem(BaseModel):
    """An error, RFC 9457. Some have more members, which help to settle it."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="A relative URI that stays the same for this type of problem.")
    title: str
    status: int
    detail: str = Field(description="One sentence that tells what to change.")
    instance: str = Field(description="The request's id, as in X-Request-Id and in the log.")
    errors: list[Fault] = Field(default_factory=list, description="Of a 422: what is wrong.")
    length: int = Field(default_factory=int, description="Of a 409: the text's, in code points.")


class User(Headers):
    x_user_id: str | None = Field(
        None,
        alias="X-User-Id",
        min_length=1,
        max_length=MAX_USER_ID,
        description="The end user that you speak for: what is not theirs is not found, and what "
        "is made is theirs. Absent: all of the project.",
    )


class SignedOnUser(Headers):
    x_user_id: str = Field(
        alias="X-User-Id",
        min_length=1,
        max_length=MAX_USER_ID,
        description="The signed-on user, vouched for by you.",
    )


class Retry(Headers):
    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY,
        description="A name of your own for this request. Repeated with the same body within 24 "
        "hours, it is answered the same and done once.",
    )


class _Bodies(GenerateJsonSchema):
    """Without titles that repeat a field's name; and all fields of an answer are always there."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)


class _Parameters(_Bodies):
    """Without null, which a URL or a header cannot say."""

    def nullable_schema(self, schema: Any) -> Json:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> Json:
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        return described


def of_bodies(endpoints: list[Endpoint]) -> tuple[Schemas, Json]:
    """The schemas of all bodies and answers, and what they refer to, by name."""
    wanted: list[tuple[Endpoint | None, JsonSchemaMode, TypeAdapter[Any]]] = [
        (None, "validation", TypeAdapter(Problem))
    ]
    for endpoint in endpoints:
        wanted.append((endpoint, "serialization", endpoint.response))
        if endpoint.body_model:
            wanted.append((endpoint, "validation", endpoint.body))
    schemas, rest = TypeAdapter.json_schemas(wanted, ref_template=REF, schema_generator=_Bodies)
    return schemas, rest["$defs"]


def path_parameter(name: str, adapter: TypeAdapter[Any]) -> Json:
    schema = adapter.json_schema(schema_generator=_Parameters)
    return {"in": "path", "name": name, "required": True, "schema": schema}


def parameters(place: str, model: type[BaseModel] | None) -> Iterator[Json]:
    """The fields of a query or of headers."""
    described = model.model_json_schema(schema_generator=_Parameters) if model else {}
    for name, schema in described.get("properties", {}).items():
        required = name in described.get("required", ())
        about = {"description": schema.pop("description")} if "description" in schema else {}
        yield {"in": place, "name": name, "required": required, **about, "schema": schema}
