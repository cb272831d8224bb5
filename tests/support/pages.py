"""The pages as they are served."""

import re

from .clients import Answer


def files_of(page: Answer) -> list[str]:
    """The addresses of the files that a page names, as it names them."""
    return re.findall(r'(?:href|src)="([^"]+)"', page.body.decode())
