"""Who asks, and whether they may."""

from dataclasses import dataclass

from klipstream_gateway.keys import KeyFolder, is_api_key
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.routes import ANONYMOUS, Principal, Scope
from klipstream_gateway.tokens import Tokens

TOKEN_CHARACTERS = 8192
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="klipstream"'}


@dataclass(slots=True)
class Access:
    """API keys and Kubernetes tokens. `tokens` is None where the latter are not taken."""

    keys: KeyFolder
    tokens: Tokens | None

    async def principal(self, authorization: str) -> Principal | None:
        """Whom an Authorization header belongs to; None where it is not valid. Raises ApiError and Unreachable."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not 1 <= len(token) <= TOKEN_CHARACTERS or not token.isascii():
            return None
        if is_api_key(token):
            return self.keys.principal(token)
        return await self.tokens.principal(token) if self.tokens is not None else None

    def allow(self, principal: Principal, scope: Scope | None) -> None:
        """Raises Refused where the scope is missing, or is admin for one tenant alone: no operation of administrators
        knows tenants."""
        if scope is None:
            return
        if principal.tenant is not None and Scope.ADMIN in principal.scopes:
            raise Refused(
                Problem.FORBIDDEN,
                f"The credentials of {principal.name} have the scope admin and a tenant, which exclude each other:"
                " make a key without one of them.",
            )
        if principal.may(scope):
            return
        if principal is not ANONYMOUS:
            raise Refused(Problem.FORBIDDEN, f"The credentials of {principal.name} lack the scope {scope.value}.")
        raise Refused(Problem.UNAUTHENTICATED, f"Credentials with the scope {scope.value} are needed.", CHALLENGE)
