"""A module without what nobody calls: on the board every function and every name costs heap.

In: Python source, dotted names ("Response.redirect", "Request.__init__.self.app") and imports as
they are written. Out: the source without these functions, methods, attributes and imports; a name
that is not there is an error, so that a new version of the module is noticed.
"""

from __future__ import annotations

import ast

# The portal (firmware/provisioning/web.py) uses Request. It has its own server, which reads
# requests and sends answers within limits that Microdot's does not have.
MICRODOT_UNUSED = (
    *(
        f"{owner}{name}"
        for owner, names in (
            ("", "AsyncBytesIO urlencode abort redirect send_file mro"),
            ("", "invoke_handler iscoroutine print_exception MUTED_SOCKET_ERRORS"),
            ("", "URLPattern HTTPException Microdot NoCaseDict"),
            ("", "Response Response.already_handled"),
            ("MultiDict.", "getlist"),
            ("Request.", "create _safe_readline json files stream after_request"),
            ("Request.", "max_content_length max_body_length max_readline G"),
            ("Request.__init__.self.", "app client_addr scheme url url_prefix subapp route g"),
            ("Request.__init__.self.", "http_version sock body_used _stream _json _files"),
            ("Request.__init__.self.", "after_request_handlers"),
        )
        for name in names.split()
    ),
    "import asyncio",
    "import io",
    "import re",
    "import time",
    "import orjson as json",
    "import json",
    "from inspect import iscoroutinefunction, iscoroutine",
    "from functools import partial",
    "from sys import print_exception",
    "import traceback",
)


def whittled(source: str, omitted: tuple[str, ...]) -> str:
    """`source` without what defines the names `omitted`; ValueError names those it lacks."""
    if not omitted:
        return source
    left = set(omitted)
    tree = ast.parse(source)
    tree.body = _without(tree.body, "", set(omitted), left)
    if left:
        raise ValueError(f"nothing to leave out named {', '.join(sorted(left))}")
    return ast.unparse(tree)


def _without(body: list[ast.stmt], owner: str, names: set[str], left: set[str]) -> list[ast.stmt]:
    kept: list[ast.stmt] = []
    for node in body:
        name = owner + _name(node)
        if name in names:
            left.discard(name)
            continue
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            node.body = _without(node.body, f"{name}.", names, left) or [ast.Pass()]
        elif isinstance(node, ast.Try):
            node.body = _without(node.body, owner, names, left)
            for handler in node.handlers:
                handler.body = _without(handler.body, owner, names, left) or [ast.Pass()]
            if not node.body:
                continue
        kept.append(node)
    return kept


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name | ast.Attribute):
        return ast.unparse(node.targets[0])
    if isinstance(node, ast.Import | ast.ImportFrom):
        return ast.unparse(node)
    return ""
