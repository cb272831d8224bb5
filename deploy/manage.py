"""The function `manage`: it runs `python -m db` where only Lambda reaches the database.

A stage has it if its `lambda_functions` in .chalice/config.json name it. The stage's zip needs
click.
"""

from typing import Any

from chalice.config import Config

from .per_function import function

NAME = "manage"


def is_wanted(config: Config) -> bool:
    stage = config.config_from_disk["stages"][config.chalice_stage]
    return NAME in stage.get("lambda_functions", {})


def add(template: dict[str, Any], config: Config) -> None:
    manage = function(template["Resources"]["APIHandler"], NAME, config)
    manage["Properties"]["Handler"] = "db.manage.run"
    template["Resources"]["Manage"] = manage
    template["Outputs"]["ManageName"] = {"Value": {"Ref": "Manage"}}
