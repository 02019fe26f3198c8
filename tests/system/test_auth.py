"""AUTH_MODE=gateway: a gateway in front says who calls."""

import pytest

from harness import BASE, Client, Server, error_of, exchange, new_id, step

SECRET = "s3cret, with spaces"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("gateway") / "data", AUTH_MODE="gateway", GATEWAY_SECRET=SECRET).start()
    yield server
    server.stop()


@pytest.fixture
def api(server):
    return Client(server, headers={"X-Gateway-Secret": SECRET})


def without(client, *names):
    for name in names:
        client.session.headers.pop(name, None)
    return client


def test_a_user_with_the_secret_is_served(api):
    detail = api.run([step()])
    assert detail["triggeredBy"] == api.user
    with api.stream(detail["id"]) as stream:
        assert stream.status == 200 and stream.next().event == "snapshot"


def test_without_a_user_or_the_secret_it_is_401(server, api):
    error_of(Client(server).get("/flows"), 401, "UNAUTHENTICATED")
    error_of(Client(server, headers={"X-Gateway-Secret": "wrong"}).get("/flows"), 401, "UNAUTHENTICATED")
    error_of(Client(server, headers={"X-Gateway-Secret": SECRET + "x"}).get("/flows"), 401, "UNAUTHENTICATED")
    error_of(without(api, "X-User-Id").get("/flows"), 401, "UNAUTHENTICATED")


@pytest.mark.parametrize("user", ["me", "", "00000000-0000-0000-0000-00000000000g", "0" * 36])
def test_a_user_that_is_no_uuid_is_401(api, user):
    error_of(api.get("/flows", headers={"X-User-Id": user}), 401, "UNAUTHENTICATED")


def test_every_route_asks(server):
    nobody = without(Client(server), "X-User-Id")
    some = new_id()
    for method, path in [
        ("POST", "/flows"), ("GET", "/flows"), ("GET", f"/flows/{some}"), ("PUT", f"/flows/{some}"), ("DELETE", f"/flows/{some}"),
        ("POST", f"/flows/{some}/start"), ("GET", f"/flows/{some}/runs"), ("GET", "/runs"), ("GET", f"/runs/{some}/status"),
        ("GET", f"/runs/{some}/events"), ("POST", f"/runs/{some}/pause"), ("POST", f"/runs/{some}/resume"),
        ("POST", f"/runs/{some}/stop"), ("GET", f"/stream/{some}"),
    ]:
        error_of(nobody.call(method, path), 401, "UNAUTHENTICATED")


def test_a_users_id_counts_in_either_case(server, api):
    flow_id = api.create_flow()
    upper = Client(server, api.user.upper(), {"X-Gateway-Secret": SECRET})
    assert upper.data(f"/flows/{flow_id}")["id"] == flow_id


def test_users_do_not_see_each_other(server, api):
    flow_id = api.create_flow()
    other = Client(server, headers={"X-Gateway-Secret": SECRET})
    error_of(other.get(f"/flows/{flow_id}"), 404, "NOT_FOUND")


def test_any_host_name_is_fine_behind_a_gateway(server, api):
    request = (
        f"GET {BASE}/flows HTTP/1.1\r\nHost: flows.example\r\nConnection: close\r\n"
        f"X-User-Id: {api.user}\r\nX-Gateway-Secret: {SECRET}\r\n\r\n"
    )
    assert exchange(server.port, request.encode()).startswith(b"HTTP/1.1 200")


def test_the_secret_is_never_logged(server, api):
    api.get("/flows")
    assert SECRET not in server.log()


def test_health_needs_no_identity(server):
    nobody = without(Client(server), "X-User-Id")
    assert nobody.get(f"{server.url}/healthz").status_code == 200
    assert nobody.get(f"{server.url}/readyz").status_code == 200


def test_without_a_secret_the_user_alone_counts(make_server):
    server = make_server(AUTH_MODE="gateway").start()
    assert Client(server).data("/flows") == []
    error_of(without(Client(server), "X-User-Id").get("/flows"), 401, "UNAUTHENTICATED")
    server.stop()
