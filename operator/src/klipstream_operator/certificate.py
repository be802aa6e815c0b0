"""The certificate of the progress endpoint, taken up again when its files change, as cert-manager renews it."""

import asyncio
import logging
import ssl
from pathlib import Path

log = logging.getLogger(__name__)
LOOK_EVERY_SECONDS = 30.0


class Certificate:
    """A context for TLS whose new handshakes show what the files hold now; open connections go on."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate = certificate
        self._key = key
        self._loaded = b""
        self.look()

    def look(self) -> bool:
        """Take up what changed, and tell whether something did. Raises ssl.SSLError and OSError."""
        found = self._certificate.read_bytes() + self._key.read_bytes()
        if found == self._loaded:
            return False
        self.context.load_cert_chain(self._certificate, self._key)
        self._loaded = found
        return True

    async def follow(self) -> None:
        """Never returns. A pair that does not fit together, as while it is being replaced, is looked at again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            try:
                if await asyncio.to_thread(self.look):
                    log.info("The renewed certificate of the progress endpoint is in use")
            except (ssl.SSLError, OSError) as error:
                log.error("The certificate %s cannot be used, the one before stays: %s", self._certificate, error)
