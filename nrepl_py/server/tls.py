"""TLS for the server: one context, whose certificate can be renewed while it is in use."""

from __future__ import annotations

import logging
import ssl

from nrepl_py.config import ConfigError

log = logging.getLogger(__name__)


class Certificate:
    """The server's certificate and its key, as files. Raises `ConfigError` where they cannot be used."""

    def __init__(self, certfile: str, keyfile: str | None = None) -> None:
        self._files = certfile, keyfile
        self.context = self._loaded()
        """For every handshake; connections that are open keep the certificate they began with."""

    def reload(self) -> None:
        """Read the files again. Where they cannot be used, those from before stay, and the log says why."""
        try:
            self._loaded()  # Tried elsewhere: a failure half-way would leave a certificate without its key.
            self._load(self.context)
        except ConfigError as error:
            log.error("the certificate was not renewed", extra={"why": str(error)})
        else:
            log.info("certificate read again", extra={"certfile": self._files[0]})

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        certfile, keyfile = self._files
        try:
            # An empty password: without any, an encrypted key would be asked for on the terminal.
            context.load_cert_chain(certfile, keyfile, password="")
        except ssl.SSLError as error:
            raise ConfigError(
                f"--certfile {certfile}, --keyfile {keyfile or certfile}: they are not a certificate and its "
                f"unencrypted key in PEM: {error.reason or error}"
            ) from None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--certfile {certfile}, --keyfile {keyfile or certfile}: cannot be read: {error}"
            ) from None
