"""The HTTP routes over a real socket: actions, sessions, errors by type, access, monitoring."""

from __future__ import annotations

import base64
import io
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serving.robots import HORIZON, Recalling, expected, look, served
from volition.serving.config import ServeConfig
from volition.serving.server import Running, background
from volition_client import Client, ServerError, pack, unpack


def png(image: np.ndarray, kind: str = "PNG") -> str:
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind)
    return base64.b64encode(out.getvalue()).decode()


def body(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    images = {name: png(message[f"observation/{name}"]) for name in ("static", "gripper")}
    state = [float(x) for x in message["observation/state"]]
    return {"prompt": message["prompt"], "images": images, "state": state, **changes}


def ask(url: str, document: Any = None, *, method: str = "", headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status, and the JSON or bytes of the answer."""
    data = document if isinstance(document, bytes) else None if document is None else json.dumps(document).encode()
    given = {"content-type": "application/json"} if data is not None else {}
    request = urllib.request.Request(
        url, data, {**given, **(headers or {})}, method=method or ("GET" if data is None else "POST")
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            status, found, kind = answer.status, answer.read(), answer.headers.get("content-type", "")
    except urllib.error.HTTPError as error:
        with error:
            status, found, kind = error.code, error.read(), error.headers.get("content-type", "")
    return status, json.loads(found) if "json" in kind else found


def test_actions_without_a_session_begin_anew_each_time(server: Running) -> None:
    for _ in range(2):
        status, answer = ask(f"{server.addresses.url}/v1/actions", body(look(1)))
        assert status == 200
        assert np.allclose(answer["actions"], expected([look(1)])[0], atol=0)
        assert answer["fresh"]
    assert len(server.server.service.sessions) == 0


def test_a_session_remembers_and_is_closed(server: Running) -> None:
    url = server.addresses.url
    status, made = ask(f"{url}/v1/sessions", {})
    assert status == 201
    messages = [look(seed) for seed in range(3)]
    for message, chunk in zip(messages, expected(messages)):
        status, answer = ask(f"{url}/v1/actions", body(message, session=made["session"]))
        assert (status, answer["session"]) == (200, made["session"])
        assert np.array_equal(np.array(answer["actions"], np.float32), chunk)
    status, picture = ask(f"{url}/v1/sessions/{made['session']}/cameras/static")
    assert status == 200
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture))), messages[-1]["observation/static"])
    assert ask(f"{url}/v1/sessions/{made['session']}/cameras/other")[1]["error"]["type"] == "not_found"
    assert ask(f"{url}/v1/sessions/{made['session']}", method="DELETE")[0] == 204
    status, answer = ask(f"{url}/v1/actions", body(look(1), session=made["session"]))
    assert (status, answer["error"]["type"]) == (404, "unknown_session")


def test_msgpack_bodies_are_the_websockets_messages(server: Running) -> None:
    headers = {"content-type": "application/msgpack", "accept": "application/msgpack"}
    status, answer = ask(f"{server.addresses.url}/v1/actions", pack(look(3)), headers=headers)
    assert status == 200
    assert np.array_equal(unpack(answer)["actions"], expected([look(3)])[0])


ANY = look(1)
WRONG: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"{", 400, "bad_message"),
    "a list": ([], 400, "bad_message"),
    "deep JSON": (b"[" * 100_000, 400, "bad_message"),
    "nothing": ({}, 422, "bad_observation"),
    "an unknown field": (body(ANY, colour="red"), 422, "bad_observation"),
    "a camera too few": (body(ANY, images={"static": png(ANY["observation/static"])}), 422, "bad_observation"),
    "a camera too many": (body(ANY, images={"statik": ""}), 422, "bad_observation"),
    "no base64": (body(ANY, images={"static": "!!", "gripper": "!!"}), 422, "bad_observation"),
    "no picture": (body(ANY, images={"static": "aGVsbG8=", "gripper": "aGVsbG8="}), 422, "bad_observation"),
    "a torn picture": (
        body(ANY, images={"static": png(ANY["observation/static"])[:80], "gripper": ""}), 422, "bad_observation"),
    "a large picture": (
        body(ANY, images={"static": png(np.zeros((2000, 2000, 3), np.uint8)), "gripper": ""}), 422, "bad_observation"),
    "a grey picture": (
        body(ANY, images={"static": png(np.zeros((6, 8), np.uint8)), "gripper": ""}), 422, "bad_observation"),
    "an animation": (
        body(ANY, images={"static": png(ANY["observation/static"], "GIF"), "gripper": ""}), 422, "bad_observation"),
    "a state of text": (body(ANY, state=["a", "b", "c"]), 422, "bad_observation"),
    "a state that is infinite": (body(ANY, state=[float("inf"), 0, 0]), 422, "bad_observation"),
    "a state that is huge": (body(ANY, state=[10**400, 0, 0]), 422, "bad_observation"),
    "a session of numbers": (body(ANY, session=3), 400, "bad_message"),
    "an unknown session": (body(ANY, session="nobody"), 404, "unknown_session"),
    "a foreign contract": (body(ANY, convention="else"), 409, "foreign_contract"),
    "a failing policy": (body({**ANY, "prompt": "fail"}), 500, "internal"),
    "a large body": (b" " * (17 << 20), 413, "too_large"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_answered_by_its_type(what: str, server: Running) -> None:
    given, status, kind = WRONG[what]
    found, answer = ask(f"{server.addresses.url}/v1/actions", given)
    assert (found, answer["error"]["type"]) == (status, kind)
    assert ask(f"{server.addresses.url}/v1/actions", body(look(1)))[0] == 200


def test_addresses_and_methods_that_are_not_there_are_json_errors(server: Running) -> None:
    url = server.addresses.url
    assert ask(f"{url}/v2/actions")[1]["error"]["type"] == "not_found"
    status, answer = ask(f"{url}/v1/actions")
    assert (status, answer["error"]["type"]) == (405, "bad_message")
    assert ask(f"{url}/v1/actions", b"x", headers={"content-type": "text/plain"})[0] == 400


def test_metrics_count_what_happened(server: Running, robot: Client) -> None:
    robot.infer(look(1))
    ask(f"{server.addresses.url}/v1/actions", {})
    _, said = ask(f"{server.addresses.url}/metrics")
    lines = dict(line.rsplit(" ", 1) for line in said.decode().splitlines() if not line.startswith("#"))
    assert lines['volition_requests_total{outcome="answered"}'] == "1"
    assert lines["volition_sessions"] == "1"
    assert lines['volition_request_seconds_bucket{le="+Inf"}'] == lines["volition_request_seconds_count"] == "1"
    assert float(lines["volition_request_seconds_sum"]) > 0


def test_health_metadata_status_and_document(server: Running, robot: Client) -> None:
    url = server.addresses.url
    assert ask(f"{url}/healthz") == (200, b"OK\n")
    assert ask(f"{url}/v1/metadata")[1]["cameras"] == robot.metadata["cameras"]
    robot.infer(look(1))
    (session,) = ask(f"{url}/v1/status")[1]["sessions"]
    assert (session["requests"], session["prompt"], len(session["actions"])) == (1, "open the drawer", HORIZON)
    document = ask(f"{url}/openapi.json")[1]
    wanted = document["paths"]["/v1/actions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert wanted["properties"]["state"]["maxItems"] == 3
    assert set(wanted["properties"]["images"]["properties"]) == {"static", "gripper"}


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"origin": "https://evil.example"}, "/v1/status"),
        ({"host": "evil.example"}, "/v1/status"),
        ({"origin": "null"}, "/v1/actions"),
        ({"origin": "http://["}, "/v1/status"),
        ({"host": "["}, "/v1/status"),
    ],
)
def test_foreign_pages_and_rebound_names_are_refused(headers: dict[str, str], path: str, server: Running) -> None:
    status, answer = ask(f"{server.addresses.url}{path}", {} if "actions" in path else None, headers=headers)
    assert (status, answer["error"]["type"]) == (403, "forbidden")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tokens = tmp_path_factory.mktemp("access") / "tokens"
    tokens.write_text("arm-1 first-secret-0123456  # of the left arm\n\nboss second-secret-012345 admin\n")
    with background(served(), ServeConfig(port=0, tokens=tokens), load=served) as running:
        yield running


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_without_a_token_nothing_but_health_and_pages(guarded: Running) -> None:
    url = guarded.addresses.url
    assert ask(f"{url}/healthz")[0] == 200
    for path in ("/v1/status", "/metrics", "/openapi.json", "/v1/metadata"):
        for headers in ({}, bearer("wrong-secret-01234567"), bearer("")):
            status, answer = ask(url + path, headers=headers)
            assert (status, answer["error"]["type"]) == (401, "unauthorized")
        assert ask(url + path, headers=bearer("first-secret-0123456"))[0] == 200
    with pytest.raises(ServerError, match="unauthorized: this server wants a token"):
        Client(guarded.addresses.websocket)


def test_tokens_have_sessions_of_their_own(guarded: Running) -> None:
    url = guarded.addresses.url
    with Client(guarded.addresses.websocket, token="first-secret-0123456") as arm:
        arm.infer(look(1))
        _, made = ask(f"{url}/v1/sessions", {}, headers=bearer("second-secret-012345"))
        seen = ask(f"{url}/v1/status", headers=bearer("first-secret-0123456"))[1]["sessions"]
        assert [session["session"] for session in seen] == [arm.session]
        assert len(ask(f"{url}/v1/status", headers=bearer("second-secret-012345"))[1]["sessions"]) == 2
        theirs = f"{url}/v1/sessions/{made['session']}"
        assert ask(theirs, method="DELETE", headers=bearer("first-secret-0123456"))[0] == 404
        assert ask(theirs, method="DELETE", headers=bearer("second-secret-012345"))[0] == 204


def test_only_admins_reload(guarded: Running) -> None:
    url = f"{guarded.addresses.url}/v1/reload"
    assert ask(url, {}, headers=bearer("first-secret-0123456"))[1]["error"]["type"] == "forbidden"
    assert ask(url, {}, headers=bearer("second-secret-012345")) == (200, {"policy": "test/step_1"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one client"),
        ("arm", "NAME TOKEN"),
        ("arm short", "at least 16"),
        ("arm 0123456789abcdef boss", "NAME TOKEN admin"),
        ("a 0123456789abcdef\nb 0123456789abcdef", "must differ"),
    ],
)
def test_a_token_file_that_says_something_else_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(ValueError, match=message), background(served(), ServeConfig(port=0, tokens=path)):
        pass


def test_other_machines_are_served_with_tokens_only() -> None:
    with pytest.raises(ValueError, match="clients need tokens"):
        ServeConfig(host="0.0.0.0")
    with pytest.raises(ValueError, match="both --tls-certificate and --tls-key"):
        ServeConfig(tls_key=Path("key.pem"))


def test_tls_is_spoken_and_a_stranger_is_not_trusted(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    done = subprocess.run([*made, *names, "-keyout", key, "-out", certificate], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"openssl cannot make a certificate here: {done.stderr[-200:]}")
    config = ServeConfig(port=0, tls_certificate=certificate, tls_key=key)
    with background(served(), config) as running:
        trusting = ssl.create_default_context(cafile=str(certificate))
        with Client(running.addresses.websocket, context=trusting) as client:
            assert np.array_equal(client.infer(look(1))["actions"], expected([look(1)])[0])
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(running.addresses.websocket, context=ssl.create_default_context())


def test_confidence_is_sent_where_the_policy_has_one() -> None:
    with background(served(Recalling(sure=True)), ServeConfig(port=0)) as running:
        answer = ask(f"{running.addresses.url}/v1/actions", body(look(1)))[1]
    assert np.allclose(answer["confidence"], np.linspace(1, 0, HORIZON))


@pytest.mark.parametrize("request_number", [10**30, -(10**30), 10**400, 1e300, True, "1"])
def test_numbers_that_are_too_large_are_refused_and_not_our_defect(request_number: Any) -> None:
    with background(served(), ServeConfig(port=0)) as running:
        status, answer = ask(f"{running.addresses.url}/v1/actions", {**body(look(1)), "request": request_number})
    assert status == 400
    assert answer["error"]["type"] == "bad_message"
