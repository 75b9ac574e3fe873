"""DMarkPay's sandbox over TLS, and a command that trusts its certificate.

`python -m benchmarks.tls COMMAND …` runs manage.py's command. The sandbox also listens on TLS_PORT then. The list of
trusted certificates is that of certifi and the one in TLS_FOLDER, so that reading it takes as long as usual.
"""

import os
import shutil
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from socket import create_server
from typing import Any

import certifi

COMMAND = [sys.executable, "-m", "benchmarks.tls"]
_KEY, _CERTIFICATE, _TRUSTED = "key.pem", "certificate.pem", "trusted.pem"


def make_certificate(folder: Path) -> None:
    if shutil.which("openssl") is None:
        raise SystemExit("openssl is needed.")
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = ["openssl", *options.split(), "-keyout", str(folder / _KEY), "-out", str(folder / _CERTIFICATE)]
    subprocess.run(command, check=True, capture_output=True)
    (folder / _TRUSTED).write_text(Path(certifi.where()).read_text() + (folder / _CERTIFICATE).read_text())


def _listen(server: Any, folder: Path, port: int) -> None:
    """Pass the requests of TLS connections to a server, which answers each connection in a thread."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / _CERTIFICATE, folder / _KEY)
    listener = create_server(("127.0.0.1", port), backlog=256)
    while True:
        connection, address = listener.accept()
        # The handshake takes place in the connection's thread, at the first read.
        connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        server.process_request(connection, address)


def main() -> None:
    folder, port = Path(os.environ["TLS_FOLDER"]), int(os.environ["TLS_PORT"])
    certifi.where = lambda: str(folder / _TRUSTED)
    from django.core.management import execute_from_command_line

    if sys.argv[1] == "dmark_sandbox":
        import django

        django.setup()
        from playmatatu.management.commands.dmark_sandbox import Command

        class TlsServer(Command.server_class):  # type: ignore[name-defined,misc]
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                threading.Thread(target=_listen, args=(self, folder, port), daemon=True).start()

        Command.server_class = TlsServer
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
