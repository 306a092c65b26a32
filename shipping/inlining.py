"""Numbers in the place of names: `kernels.SCANS` becomes 30, in whichever module it is said.

MicroPython's compiler does so for `_NAME = const(...)` within a module. A public constant it keeps
as a variable: a name, an entry in a dictionary, a look-up each time.

In: the sources of everything that is shipped together. Out: the same, with numbers.
"""

from __future__ import annotations

import ast


def inlined(sources: dict[str, str]) -> dict[str, str]:
    """The sources by module ("metering.meter"), doing what they did. SyntaxError as ast.parse."""
    trees = {module: ast.parse(source, module) for module, source in sources.items()}
    constants = {module: _constants(tree) for module, tree in trees.items()}
    for module, tree in trees.items():
        _Inlining(module, tree, constants).visit(tree)
    return {module: ast.unparse(ast.fix_missing_locations(tree)) for module, tree in trees.items()}


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Public constants of a module, and what they are: a number, or an expression of numbers."""
    return {name: value for node in tree.body for name, value in [_constant(node)] if value}


def _constant(node: ast.AST) -> tuple[str, ast.expr | None]:
    match node:
        case ast.Assign(
            targets=[ast.Name(id=name)],
            value=ast.Call(func=ast.Name(id="const"), args=[value]),
        ) if name[0] != "_" and not any(isinstance(n, ast.Name) for n in ast.walk(value)):
            return name, value
    return "", None


class _Inlining(ast.NodeTransformer):
    def __init__(
        self, module: str, tree: ast.Module, constants: dict[str, dict[str, ast.expr]]
    ) -> None:
        self._constants = constants
        self._values = dict(constants[module])
        self._modules: dict[str, dict[str, ast.expr]] = {}
        for node in ast.walk(tree):
            match node:
                case ast.Import(names=names):
                    for alias in names:
                        self._modules[alias.asname or alias.name] = constants.get(alias.name, {})
                case ast.ImportFrom(module=str(package), names=names):
                    for alias in names:
                        name, whole = alias.asname or alias.name, f"{package}.{alias.name}"
                        self._modules[name] = constants.get(whole, {})
                        value = constants.get(package, {}).get(alias.name)
                        if value:
                            self._values[name] = value

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if _constant(node)[1] else self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        known = self._constants.get(node.module or "", {})
        node.names = [alias for alias in node.names if alias.name not in known]
        return node if node.names else None

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._values.get(node.id, node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name):
            value = self._modules.get(node.value.id, {}).get(node.attr)
            if value:
                return value
        return self.generic_visit(node)
