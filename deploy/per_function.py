"""One Lambda function for each route, made from the template that Chalice writes for all of them.

Chalice writes the routes and their integrations into the API's swagger document. This module points
each integration to its own function, a copy of `APIHandler` with the same zip. `ONLY_ROUTE` tells
the function its route. (A function could import only its route's module. This would save 20 of the
160 ms of a cold start, and give each function another entry point.)
"""

from copy import deepcopy
from typing import Any

from chalice.config import Config
from chalice.utils import to_cfn_resource_name

Resource = dict[str, Any]

# What `lambda_functions` in .chalice/config.json may set for a route: Chalice's name and SAM's.
SETTINGS = {
    "lambda_memory_size": "MemorySize",
    "lambda_timeout": "Timeout",
    "reserved_concurrency": "ReservedConcurrentExecutions",
    "layers": "Layers",
}
MERGED = {"environment_variables", "tags"}


class ConfigError(Exception):
    """Something in .chalice/config.json cannot be done. The message says what to change."""


class NotDivisible(Exception):
    """The stage must stay one function. The message says why."""


def divide(template: Resource, config: Config) -> Resource:
    """The same API, with a function and an invoke permission for each route.

    Raises NotDivisible, and ConfigError if `lambda_functions` has a mistake.
    """
    template = deepcopy(template)
    resources = template["Resources"]
    shared = resources.pop("APIHandler")
    permission = resources.pop("APIHandlerInvokePermission")
    if "ReservedConcurrentExecutions" in shared["Properties"]:
        raise NotDivisible("its reserved_concurrency is for all routes together.")
    routes = config.chalice_app.routes
    views = {view.view_name for methods in routes.values() for view in methods.values()}
    check_settings(config, {*views, "manage"})
    for path, operations in resources["RestAPI"]["Properties"]["DefinitionBody"]["paths"].items():
        for method, operation in operations.items():
            integration = operation["x-amazon-apigateway-integration"]
            if integration["type"] != "aws_proxy":  # a preflight: the gateway answers it
                continue
            view = routes[path][method.upper()].view_name
            name = to_cfn_resource_name(view)
            if name in resources:
                raise ConfigError(f"{view} would replace another resource {name}: rename it.")
            route = f"{method.upper()} {path}"
            resources[name] = function(shared, view, config, ONLY_ROUTE=route)
            resources[f"{name}InvokePermission"] = allowed_to_invoke(permission, name)
            uri = integration["uri"]["Fn::Sub"]
            integration["uri"]["Fn::Sub"] = uri.replace("${APIHandler.Arn}", f"${{{name}.Arn}}")
    for output in ("APIHandlerName", "APIHandlerArn"):
        del template["Outputs"][output]
    return template


def check_settings(config: Config, views: set[str]) -> None:
    """Raises ConfigError for an unknown name. Chalice would ignore it, with its settings."""
    disk = config.config_from_disk
    for level in (disk, disk["stages"][config.chalice_stage]):
        for view, settings in level.get("lambda_functions", {}).items():
            if view not in views:
                raise ConfigError(f"lambda_functions: there is no route function {view}.")
            if unknown := settings.keys() - SETTINGS.keys() - MERGED:
                names = ", ".join(sorted(unknown))
                raise ConfigError(f"lambda_functions: {view} cannot set {names}.")


def function(shared: Resource, name: str, config: Config, **variables: str) -> Resource:
    """A copy of `shared` with a name, settings and environment variables of its own."""
    own = config.scope(config.chalice_stage, name)
    copy = deepcopy(shared)
    properties = copy["Properties"]
    properties["FunctionName"] = {"Fn::Sub": f"${{AWS::StackName}}-{name}"}
    for setting, key in SETTINGS.items():
        if (value := getattr(own, setting)) is not None:
            properties[key] = value
    properties["Tags"].update(own.tags)
    environment = properties.setdefault("Environment", {}).setdefault("Variables", {})
    environment.update(own.environment_variables, **variables)
    return copy


def allowed_to_invoke(permission: Resource, name: str) -> Resource:
    copy = deepcopy(permission)
    copy["Properties"]["FunctionName"] = {"Ref": name}
    return copy
