"""The certificate of the progress endpoint and its authority, taken up again when their files change."""

import asyncio
import logging
import ssl
from pathlib import Path

log = logging.getLogger(__name__)
LOOK_EVERY_SECONDS = 30.0


class Authority:
    """Certificate authority that workers are to trust, in a file that may be replaced by another one.

    Raises OSError and UnicodeDecodeError where the file cannot be read at first; afterwards what it held stays.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pem = file.read_text()

    def pem(self) -> str:
        """What the file holds now: whoever starts now meets the certificate that this authority signed."""
        try:
            self._pem = self._file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            log.error("The authority %s cannot be read, the one before stays: %s", self._file, error)
        return self._pem


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
