"""Answer HTTP: predictions of rows of JSON, and the page of the model.

POST /predict takes an object of columns, or an array of them, as rows of the table have them; null
is a gap. POST /v2/models/predictor/infer is that of the Open Inference Protocol, version 2.
/openapi.json describes these, /metrics is for Prometheus, and / is the page that
`python -m stages.report` makes. SIGTERM ends the server once it has answered its requests.
"""

import asyncio
import socket
from pathlib import Path

from stages.predictor import document
from stages.project import cli
from stages.project.cli import InputError
from stages.project.files import PAGE, PREDICTOR

ROOT = Path(__file__).parent.parent


def load_page(digest: str) -> bytes | None:
    """Read the page, if there is one, and it shows the predictor of this SHA-256."""
    page = (ROOT / PAGE).read_bytes() if (ROOT / PAGE).is_file() else b""
    if f'<meta name="predictor" content="{digest}">'.encode() in page:
        return page
    cli.say(f"serve: there is no {PAGE} of this model: `python -m stages.report` makes it")
    return None


def find_address(host: str, port: int) -> tuple[str, int]:
    """Return an address where nobody listens yet, with a free port for port 0.

    The server itself would share the port of another one of its kind.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family) as probe:
            address: tuple[str, int] = probe.getsockname()[:2]
    except (OverflowError, ValueError) as error:  # of what cannot be a port or a name
        raise InputError(f"--host {host} --port {port}: {error}") from error
    return address


def main() -> None:
    parser = cli.parser("python -m stages.serve", __doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--port", default=8080, type=int, help="its port, 8080 by default")
    args = parser.parse_args()
    with cli.requiring("serve"):
        from stages.predictor.application import Application
        from stages.predictor.server import serve
    model = document.load(ROOT / PREDICTOR)
    application = Application(model, load_page(document.digest(ROOT / PREDICTOR)))
    asyncio.run(serve(application, *find_address(args.host, args.port)))


if __name__ == "__main__":
    cli.finish(main, "serve")
