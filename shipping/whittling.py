"""A module without what nobody calls: on the board every function and every name costs heap.

In: Python source, dotted names ("Response.redirect"). Out: the source without these functions,
methods and class attributes; a name that is not there is an error, so that a new version of the
module is noticed.
"""

from __future__ import annotations

import ast

# What the portal (firmware/provisioning/web.py) never calls: it has its own server, which reads
# requests and sends answers within limits that Microdot's does not have.
MICRODOT_UNUSED = tuple(
    f"{owner}{name}"
    for owner, names in (
        ("", "AsyncBytesIO urlencode abort redirect send_file"),
        ("NoCaseDict.", "__delitem__ __contains__ update"),
        ("MultiDict.", "getlist"),
        ("Request.", "create _safe_readline json files stream after_request"),
        ("Response.", "write complete body_iter set_cookie delete_cookie redirect send_file"),
        ("Response.", "types_map send_file_buffer_size default_send_file_max_age"),
        ("URLPattern.", "register_type __repr__"),
        ("HTTPException.", "__repr__"),
        ("Microdot.", "start_server run shutdown handle_request mount abort"),
        ("Microdot.", "put patch delete query get post before_request"),
        ("Microdot.", "after_request after_error_request"),
    )
    for name in names.split()
)


def whittled(source: str, omitted: tuple[str, ...]) -> str:
    """`source` without the definitions `omitted`. ValueError names those that it does not have."""
    left = set(omitted)
    tree = ast.parse(source)
    tree.body = _without(tree.body, "", left)
    if left:
        raise ValueError(f"nothing to leave out named {', '.join(sorted(left))}")
    return ast.unparse(tree)


def _without(body: list[ast.stmt], owner: str, left: set[str]) -> list[ast.stmt]:
    kept: list[ast.stmt] = []
    for node in body:
        name = owner + _name(node)
        if name in left:
            left.discard(name)
            continue
        if isinstance(node, ast.ClassDef):
            node.body = _without(node.body, f"{name}.", left) or [ast.Pass()]
        kept.append(node)
    return kept


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""
