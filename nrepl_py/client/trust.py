"""Which servers a client believes to be who they say, over TLS.

The system's trust store, and a file of further authorities where one is named. A server of this
machine that was found by its connection file is known better than by any name: it is whoever shows the
certificate in the file it names there, which works on 127.0.0.1 too, where few certificates are valid.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import Final

from nrepl_py.client.address import Address, NoServer

CAFILE: Final = "NREPL_PY_CAFILE"
"""The environment variable with the path of a PEM file of certificate authorities."""

_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL)


def context(address: Address, cafile: str | None = None) -> ssl.SSLContext | None:
    """What checks the server's certificate; None where there is no TLS. Raises `NoServer` for a file
    that cannot be used."""
    if address.unix is not None or not address.url.startswith("wss://"):
        return None
    cafile = cafile or os.environ.get(CAFILE) or None
    path = cafile or address.certfile
    try:
        if cafile is None and address.certfile is not None:
            return _exactly(address.certfile)
        checking = ssl.create_default_context()
        if cafile is not None:
            checking.load_verify_locations(cafile)
        return checking
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise NoServer(f"{path} has no certificates that can be read: {error}") from None


def untrusted(address: Address, error: ssl.SSLCertVerificationError) -> NoServer:
    """What to tell the user of a certificate that is not believed."""
    return NoServer(
        f"the certificate of the server at {address} is not to be trusted: {error.verify_message}; "
        f"name the file of its authority (--cafile, {CAFILE}), and the server by the name in its certificate"
    )


def _exactly(certfile: str) -> ssl.SSLContext:
    """Trust the first certificate in the file, the server's own, and not those that signed it."""
    with open(certfile, encoding="ascii", errors="replace") as file:
        found = _CERTIFICATE.search(file.read())
    if found is None:
        raise ValueError("it has no certificate in PEM")
    checking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    checking.check_hostname = False
    checking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    checking.load_verify_locations(cadata=found[0])
    return checking
