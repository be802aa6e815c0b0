"""The routes of a gateway with the default settings that is connected to nothing: for the description alone."""

from klipstream_gateway.routes import Route
from klipstream_gateway.service import make_service
from klipstream_gateway.settings import Settings
from klipstream_kube import Client, Connection


def blueprint() -> tuple[Route, ...]:
    """The routes."""
    settings = Settings.from_environment("default", {})
    return make_service(settings, Client(Connection("https://nowhere.invalid")), list).routes
