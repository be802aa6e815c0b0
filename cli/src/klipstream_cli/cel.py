"""As much of the Common Expression Language as the rules of our CustomResourceDefinitions use, evaluated (pure).

https://github.com/google/cel-spec. A rule that uses more raises Unsupported, and is then left to the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+)|(?P<string>'(?:[^'\\]|\\.)*')|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[!<>+\-*()\[\].,?:]))"
)
_QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
Scope = dict[str, Any]
Node = Callable[[Scope], Any]


class Unsupported(ValueError):
    """The rule uses what is not known here."""


class Absent(LookupError):
    """A field that is read is not there: the server calls the rule broken."""


def evaluate(rule: str, scope: Scope) -> Any:
    """The value of an expression. Raises Unsupported, Absent."""
    parser = _Parser(_tokens(rule))
    node = parser.expression()
    parser.end()
    return node(scope)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(rule: str) -> list[_Token]:
    found, place = [], 0
    text = rule.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise Unsupported(f"unknown sign in {rule!r} at {place}")
        found.append(_Token(match.lastgroup, match.group(match.lastgroup)))
        place = match.end()
    return found


class _Parser:
    """Precedence, lowest first: ? :, ||, &&, comparison and in, + and -, !, members and calls."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._place = tokens, 0

    def end(self) -> None:
        if self._place < len(self._tokens):
            raise Unsupported(f"cannot read from {self._tokens[self._place].text!r} on")

    def _peek(self) -> str:
        return self._tokens[self._place].text if self._place < len(self._tokens) else ""

    def _take(self, *texts: str) -> str | None:
        if self._place < len(self._tokens) and self._tokens[self._place].text in texts:
            self._place += 1
            return self._tokens[self._place - 1].text
        return None

    def _expect(self, text: str) -> None:
        if self._take(text) is None:
            raise Unsupported(f"{text!r} is missing before {self._peek()!r}")

    def expression(self) -> Node:
        condition = self._either()
        if not self._take("?"):
            return condition
        then = self.expression()
        self._expect(":")
        otherwise = self.expression()
        return lambda scope: then(scope) if condition(scope) else otherwise(scope)

    def _either(self) -> Node:
        left = self._both()
        while self._take("||"):
            left = self._or(left, self._both())
        return left

    def _both(self) -> Node:
        left = self._comparison()
        while self._take("&&"):
            left = self._and(left, self._comparison())
        return left

    @staticmethod
    def _or(left: Node, right: Node) -> Node:
        return lambda scope: bool(left(scope)) or bool(right(scope))

    @staticmethod
    def _and(left: Node, right: Node) -> Node:
        return lambda scope: bool(left(scope)) and bool(right(scope))

    def _comparison(self) -> Node:
        left = self._sum()
        sign = self._take("==", "!=", "<=", ">=", "<", ">", "in")
        if sign is None:
            return left
        right, compare = self._sum(), _COMPARE[sign]
        return lambda scope: compare(left(scope), right(scope))

    def _sum(self) -> Node:
        left = self._unary()
        while sign := self._take("+", "-"):
            left = self._plus(left, self._unary(), sign)
        return left

    @staticmethod
    def _plus(left: Node, right: Node, sign: str) -> Node:
        return lambda scope: left(scope) + right(scope) if sign == "+" else left(scope) - right(scope)

    def _unary(self) -> Node:
        if self._take("!"):
            inner = self._unary()
            return lambda scope: not inner(scope)
        return self._member(self._primary())

    def _primary(self) -> Node:
        if self._place >= len(self._tokens):
            raise Unsupported("the rule ends too early")
        token = self._tokens[self._place]
        self._place += 1
        if token.kind == "number":
            return lambda _scope: int(token.text)
        if token.kind == "string":
            value = re.sub(r"\\(.)", r"\1", token.text[1:-1])
            return lambda _scope: value
        if token.text == "(":
            inner = self.expression()
            self._expect(")")
            return inner
        if token.text == "[":
            items = self._arguments("]")
            return lambda scope: [item(scope) for item in items]
        if token.text == "has" and self._take("("):
            path = self.expression()
            self._expect(")")
            return lambda scope: _is_there(path, scope)
        if token.text in ("true", "false"):
            return lambda _scope: token.text == "true"
        if token.kind == "name":
            return lambda scope: _variable(scope, token.text)
        raise Unsupported(f"cannot read {token.text!r}")

    def _member(self, node: Node) -> Node:
        while True:
            if self._take("."):
                name = self._tokens[self._place].text
                self._place += 1
                node = self._call(node, name) if self._take("(") else self._field(node, name)
            elif self._take("["):
                key = self.expression()
                self._expect("]")
                node = self._item(node, key)
            else:
                return node

    @staticmethod
    def _field(node: Node, name: str) -> Node:
        return lambda scope: _get(node(scope), name)

    @staticmethod
    def _item(node: Node, key: Node) -> Node:
        return lambda scope: _get(node(scope), key(scope))

    def _call(self, node: Node, name: str) -> Node:
        if name in ("all", "exists", "map", "filter"):
            variable = self._tokens[self._place].text
            self._place += 1
            self._expect(",")
            body = self.expression()
            self._expect(")")
            return _macro(name, node, variable, body)
        arguments = self._arguments(")")
        method = _METHODS.get(name)
        if method is None:
            raise Unsupported(f"the function {name} is not known here")
        return lambda scope: method(node(scope), *(argument(scope) for argument in arguments))

    def _arguments(self, closing: str) -> list[Node]:
        found: list[Node] = []
        while not self._take(closing):
            if found:
                self._expect(",")
            found.append(self.expression())
        return found


def _macro(name: str, node: Node, variable: str, body: Node) -> Node:
    """Over a list's values or a map's keys."""

    def run(scope: Scope) -> Any:
        results = ((item, body(scope | {variable: item})) for item in list(node(scope)))
        match name:
            case "all":
                return all(result for _, result in results)
            case "exists":
                return any(result for _, result in results)
            case "map":
                return [result for _, result in results]
            case _:
                return [item for item, result in results if result]

    return run


class _Format:
    """format.qualifiedName().validate(text): an optional with errors, empty where the text is one."""


def _variable(scope: Scope, name: str) -> Any:
    if name == "format":
        return _Format()
    if name not in scope:
        raise Unsupported(f"the variable {name} is not known here")
    return scope[name]


def _get(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        if key not in value:
            raise Absent(str(key))
        return value[key]
    if isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
        return value[key]
    raise Absent(str(key))


def _is_there(path: Node, scope: Scope) -> bool:
    try:
        path(scope)
    except Absent:
        return False
    return True


def _contained(item: Any, container: Any) -> bool:
    return item in container


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "in": _contained,
}
_METHODS: dict[str, Callable[..., Any]] = {
    "size": len,
    "sum": sum,
    "contains": lambda text, part: part in text,
    "startsWith": lambda text, part: text.startswith(part),
    "endsWith": lambda text, part: text.endswith(part),
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
    "qualifiedName": lambda _format: _QUALIFIED,
    "validate": lambda pattern, text: None if pattern.fullmatch(text) else "invalid",
    "hasValue": lambda optional: optional is not None,
}
