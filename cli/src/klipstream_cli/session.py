"""The options that every command has, and the connection that they lead to."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from klipstream_cli.api import Api
from klipstream_cli.errors import Exit, Problem
from klipstream_cli.kubeconfig import Access, load_access


@dataclass(slots=True)
class Session:
    """Who asks which API server about which namespace; the kubeconfig is read when it is first needed."""

    namespace_option: str | None = None
    all_namespaces: bool = False
    context: str | None = None
    kubeconfig: str | None = None
    timeout_seconds: float = 30.0
    _access: Access | None = field(default=None, repr=False)
    _api: Api | None = field(default=None, repr=False)

    @property
    def access(self) -> Access:
        """Raises Problem where no kubeconfig leads anywhere."""
        if self._access is None:
            self._access = load_access(self.kubeconfig, self.context)
        return self._access

    @property
    def api(self) -> Api:
        """The connection."""
        if self._api is None:
            self._api = Api(self.access, self.timeout_seconds)
        return self._api

    @property
    def namespace(self) -> str:
        """The namespace of commands that are about one object."""
        if self.all_namespaces:
            raise Problem("-A goes with lists; name the namespace by -n", Exit.USAGE)
        return self.namespace_option or self.access.namespace

    @property
    def scope(self) -> str | None:
        """The namespace of lists; None for all."""
        return None if self.all_namespaces else self.namespace


_current: ContextVar[Session] = ContextVar("session")


def begin(session: Session) -> None:
    """Make it the session of this command."""
    _current.set(session)


def current() -> Session:
    """The session of this command."""
    return _current.get()
