"""JSON schemas for the OpenAPI document: of bodies, of answers, and of headers of all requests."""

from collections.abc import Iterator
from typing import Any, Union

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from .endpoint import Endpoint
from .headers import IDEMPOTENCY_KEY, OPENAI_PROJECT, USER_ID, Headers
from .problems import dialects

REF = "#/components/schemas/{model}"
Json = dict[str, Any]
# Of an endpoint's body ("validation") and of its answer ("serialization").
Schemas = dict[tuple[Endpoint | None, JsonSchemaMode], Json]


class InvalidValue(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int] = Field(description="`body`, `query`, `path` or `header`, and where in it")
    msg: str
    type: str


class Problem(BaseModel):
    """An error, RFC 9457. Some have more members, which help to settle it."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="A relative URI that stays the same for this type of problem.")
    title: str = Field(description="What went wrong, in a few words.")
    status: int = Field(description="The response's status.")
    detail: str = Field(description="One sentence that tells what to change.")
    instance: str = Field(description="The request's id, as in X-Request-Id and in the log.")
    errors: list[InvalidValue] = Field(default_factory=list, description="Of a 422: what is wrong.")
    length: int = Field(default_factory=int, description="Of a 409: the text's, in code points.")


class User(Headers):
    x_user_id: str | None = USER_ID.field(None)


class OpenAIProject(Headers):
    openai_project: str | None = OPENAI_PROJECT.field(None)


class SignedOnUser(Headers):
    x_user_id: str = USER_ID.field()


class Retry(Headers):
    idempotency_key: str | None = IDEMPOTENCY_KEY.field(None)


class _Bodies(GenerateJsonSchema):
    """Schemas without titles that repeat a field's name. All fields of an answer are required."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:
        is_dict = field["type"] == "typed-dict-field"  # a key of which may be left out
        return (self.mode == "serialization" and not is_dict) or super().field_is_required(
            field, total
        )


class _Parameters(_Bodies):
    """Schemas without null, which a URL or a header cannot express."""

    def nullable_schema(self, schema: Any) -> Json:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> Json:
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        return described


def of_bodies(endpoints: list[Endpoint]) -> tuple[Schemas, Json]:
    """The schemas of all bodies and answers, and those that they refer to, by name."""
    # Of all shapes of errors, only the names in the second result are of use.
    shapes = [Problem, *(dialect.body for dialect in dialects.values())]
    errors: Any = Union[tuple(shapes)]  # noqa: UP007 - their number is not known
    wanted: list[tuple[Endpoint | None, JsonSchemaMode, TypeAdapter[Any]]] = [
        (None, "validation", TypeAdapter(errors))
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
        if schema.get("type") == "object":  # `name[key]=value`
            about |= {"style": "deepObject", "explode": True}
        yield {"in": place, "name": name, "required": required, **about, "schema": schema}
