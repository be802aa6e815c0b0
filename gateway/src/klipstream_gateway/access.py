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

    def known(self, authorization: str) -> Principal | None:
        """Whom an Authorization header belongs to, as far as this process can tell by itself: API keys, and tokens
        that were reviewed a moment ago. Costs a hash, so it may be asked however many wrong ones came before."""
        token = _bearer(authorization)
        if token is None:
            return None
        if is_api_key(token):
            return self.keys.principal(token)
        return self.tokens.known(token) if self.tokens is not None else None

    def familiar(self, authorization: str) -> bool:
        """Whether it is a token that was valid when it was last reviewed: such a one is not a guess."""
        token = _bearer(authorization)
        return token is not None and self.tokens is not None and self.tokens.familiar(token)

    async def principal(self, authorization: str) -> Principal | None:
        """Whom an Authorization header belongs to; None where it is not valid. Raises ApiError and Unreachable."""
        token = _bearer(authorization)
        if token is None:
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
        raise Refused(
            Problem.UNAUTHENTICATED,
            f"Credentials with the scope {scope.value} are needed: send the header Authorization: Bearer KEY.",
            CHALLENGE,
        )


def is_bearer(authorization: str) -> bool:
    """Whether a header is meant for us; others, such as Basic, are for a proxy in between that passed them on."""
    return authorization.partition(" ")[0].lower() == "bearer"


def _bearer(authorization: str) -> str | None:
    token = authorization.partition(" ")[2].strip()
    return token if is_bearer(authorization) and 1 <= len(token) <= TOKEN_CHARACTERS and token.isascii() else None
