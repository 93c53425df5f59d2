"""Addresses that lead to no Ray cluster are refused in one sentence, without a long wait.

In a process of its own each, for importing Ray settles how the clusters of other tests are reached.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs ray: the extra cluster")

PATIENCE = 120
"""Seconds for a child, which has torch and Ray to import."""

REACH = """
import json, sys
from fcilib.execution import ray_executor
ray_executor.ANSWER_SECONDS = 3.0
said = []
for address in sys.argv[1:]:
    try:
        ray_executor._reach(address)
        said.append("reached")
    except ConnectionError as error:
        said.append(str(error))
print(json.dumps(said))
"""

SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HTTP1 = b"HTTP/1.1 400 Bad Request\r\n\r\n"


def reached(*addresses):
    env = os.environ | {"RAY_USE_TLS": "0"}
    child = subprocess.run(
        [sys.executable, "-c", REACH, *addresses],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [(None, "TimeoutError|no answer in time"), (b"", "NotRayError"), (HTTP1, "NotRayError")],
    ids=["silence", "hangs up", "HTTP/1.1"],
)
def test_a_server_that_is_not_ray_is_refused(answer, fault):
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve():
            while True:
                connection, _ = server.accept()
                if answer is None:
                    held.append(connection)
                    continue
                with connection:
                    connection.recv(64)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        place = f"127.0.0.1:{server.getsockname()[1]}"
        for address, said in zip(
            (place, f"ray://{place}"), reached(place, f"ray://{place}"), strict=True
        ):
            assert said.startswith(f"executor: no Ray cluster answers at {address} (")
            assert any(f"({name})" in said for name in fault.split("|"))


def test_a_server_of_http2_is_let_through():
    """Settings are what a server of Ray answers with, in pieces if it likes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                assert connection.recv(64).startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                connection.sendall(SETTINGS[:2])
                connection.sendall(SETTINGS[2:])

        threading.Thread(target=serve, daemon=True).start()
        assert reached(f"127.0.0.1:{server.getsockname()[1]}") == ["reached"]


def test_an_address_without_a_port_is_refused():
    addresses = ["ray://localhost", "localhost", "ray://[::1]"]
    for address, said in zip(addresses, reached(*addresses), strict=True):
        assert said.startswith("executor: a Ray cluster's address ends in a port")
        assert said.endswith(f"{address!r} has none")


def test_a_server_that_is_not_ray_does_not_hold_up_sigterm():
    script = (
        "import sys; from fcilib.execution.ray_executor import _connected\n"
        "with _connected(sys.argv[1]): pass"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        child = subprocess.Popen(
            [sys.executable, "-c", script, address], stderr=subprocess.PIPE, text=True
        )
        connection, _ = server.accept()
        child.terminate()
        with connection:
            child.communicate(timeout=30)  # Ray itself took longer
    assert child.returncode != 0
