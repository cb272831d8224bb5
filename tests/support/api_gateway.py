"""A local API Gateway that puts a template's API in front of its functions."""

import base64
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from .clients import Answer, in_lower_case
from .lambda_runtime import Function, FunctionError

# API Gateway adds the prefix `x-amzn-Remapped-` to these response headers.
REMAPPED = {"connection", "content-length", "date", "server", "www-authenticate"}


class Operation(NamedTuple):
    resource: str  # e.g. /api/v1/conversations/{conversation_id}
    method: str
    integration: dict[str, Any]


class ApiGateway:
    """A transport that reaches the functions of `template`, whose zip is unpacked in `task`.

    It routes by the template's swagger, answers preflight requests itself, turns requests into
    proxy events, and renames reserved response headers. `environment` is added to each function's
    own and must hold every value that CloudFormation would compute.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """

    def __init__(
        self, template: dict[str, Any], task: Path, environment: Mapping[str, str]
    ) -> None:
        resources = template["Resources"]
        api = resources["RestAPI"]["Properties"]
        self._stage: str = api["StageName"]
        self._paths: dict[str, Any] = api["DefinitionBody"]["paths"]
        self.functions = {
            name: Function(task, resource["Properties"]["Handler"], {**own, **environment})
            for name, resource in resources.items()
            if resource["Type"] == "AWS::Serverless::Function"
            for own in [resource["Properties"]["Environment"]["Variables"]]
        }

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        path, _, query = path.partition("?")
        operation = self._find(method, path)
        if operation is None:
            return _answer(403, {}, b'{"message":"Missing Authentication Token"}')
        if operation.integration["type"] == "mock":
            return _preflight(operation.integration)
        name = function_of(operation.integration)
        event = proxy_event(operation, self._stage, path, query, headers, body)
        try:
            response = self.functions[name].invoke(event)
        except FunctionError:
            return _answer(502, {}, b'{"message": "Internal server error"}')
        content = response["body"].encode()
        if response.get("isBase64Encoded"):
            content = base64.b64decode(content)
        several = response.get("multiValueHeaders", {})
        named = {**response["headers"], **{name: several[name][-1] for name in several}}
        return _answer(response["statusCode"], named, content)

    def close(self) -> None:
        for function in self.functions.values():
            function.close()

    def _find(self, method: str, path: str) -> Operation | None:
        """Find the operation for a path. Paths without parameters come first."""
        bare = path.rstrip("/")
        for resource in sorted(self._paths, key=lambda resource: resource.count("{")):
            operations = self._paths[resource]
            if re.fullmatch(pattern(resource), bare) and method.lower() in operations:
                operation = operations[method.lower()]
                return Operation(resource, method, operation["x-amazon-apigateway-integration"])
        return None


def pattern(resource: str) -> str:
    """Return a regular expression for the paths of a resource, with a group per parameter."""
    return re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(resource))


def function_of(integration: dict[str, Any]) -> str:
    """Return the logical name of the function that an integration invokes."""
    found = re.search(r"/functions/\$\{(\w+)\.Arn\}/invocations$", integration["uri"]["Fn::Sub"])
    assert found, integration
    return found[1]


def proxy_event(
    operation: Operation, stage: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> dict[str, Any]:
    """Build the event of a Lambda proxy integration.

    API Gateway decodes query parameters and leaves path parameters encoded.
    """
    matched = re.fullmatch(pattern(operation.resource), path.rstrip("/"))
    assert matched
    sent = {"Host": "example.execute-api.us-east-1.amazonaws.com", **headers}
    parameters: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters.setdefault(name, []).append(value)
    return {
        "resource": operation.resource,
        "path": path,
        "httpMethod": operation.method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": {name: values[-1] for name, values in parameters.items()} or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": matched.groupdict() or None,
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "domainName": sent["Host"],
            "httpMethod": operation.method,
            "identity": {"sourceIp": "127.0.0.1", "userAgent": sent.get("User-Agent")},
            "path": f"/{stage}{path}",
            "protocol": "HTTP/1.1",
            "requestId": str(uuid.uuid4()),
            "requestTimeEpoch": int(time.time() * 1000),
            "resourceId": "example",
            "resourcePath": operation.resource,
            "stage": stage,
        },
        "body": body.decode("utf-8", "replace") if body else None,
        "isBase64Encoded": False,
    }


def _preflight(integration: dict[str, Any]) -> Answer:
    fixed = integration["responses"]["default"]["responseParameters"]
    headers = {name.rpartition(".")[2]: value.strip("'") for name, value in fixed.items()}
    return _answer(200, headers, b"")


def _answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    named = in_lower_case(headers).items()
    renamed = {f"x-amzn-remapped-{n}" if n in REMAPPED else n: v for n, v in named}
    return Answer(status, renamed, body)
