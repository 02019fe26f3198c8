"""Flows over HTTP: what is accepted, what is refused and how, paging, preconditions, owners."""

import json
import re
import socket

import pytest

from harness import BASE, Client, delay, error_of, exchange, list_order, new_id, read_all, step

pytestmark = pytest.mark.sanitizer

INSTANT = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,}Z$")
UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
SUMMARY = {"id", "name", "description", "createdAt", "updatedAt"}
DETAIL = SUMMARY | {"steps", "cron", "timezone", "nextRunAt", "version", "labels"}


def post_raw(api, body, path="/flows", **headers):
    return api.post(path, data=body, headers={"Content-Type": "application/json", **headers})


def faults_of(response):
    assert response.status_code == 400, response.text
    errors = response.json()["errors"]
    assert {error["code"] for error in errors} == {"VALIDATION_ERROR"}, errors
    return {error.get("field"): error for error in errors}


# ---- create and read ----


def test_the_smallest_flow(api):
    response = api.post("/flows", json={"name": "a"})
    assert response.status_code == 201
    body = response.json()
    flow = body["data"]
    assert SUMMARY <= set(flow) and "steps" not in flow
    assert UUID.match(flow["id"]) and flow["name"] == "a" and flow["description"] is None
    assert INSTANT.match(flow["createdAt"]) and flow["createdAt"] == flow["updatedAt"]
    assert response.headers["Location"].endswith(f"{BASE}/flows/{flow['id']}")
    assert response.headers["ETag"] == '"1"'
    metadata = body["metadata"]
    assert metadata["success"] is True and INSTANT.match(metadata["timestamp"])
    assert metadata["requestId"] == response.headers["X-Request-Id"]


def test_a_request_id_is_echoed(api):
    response = api.get("/flows", headers={"X-Request-Id": "mine-1"})
    assert response.headers["X-Request-Id"] == "mine-1"
    assert response.json()["metadata"]["requestId"] == "mine-1"
    assert api.get("/flows").headers["X-Request-Id"] != api.get("/flows").headers["X-Request-Id"]


def test_detail_has_every_member_and_null_where_there_is_no_value(api):
    flow = api.data(f"/flows/{api.create_flow()}")
    assert DETAIL <= set(flow)
    assert flow["steps"] == [] and flow["version"] == 1 and flow["labels"] == {}
    for name in ("description", "cron", "timezone", "nextRunAt"):
        assert flow[name] is None


def test_a_whole_flow_comes_back_as_it_went_in(api):
    first, second, branch_step = new_id(), new_id(), new_id()
    request = {
        "name": "Überall ☃",
        "description": "all of it",
        "cron": "*/5 * * * *",
        "timezone": "Europe/Berlin",
        "labels": {"team": "a.b$c", "env": "test"},
        "somethingNew": [1, {"ignored": True}],
        "steps": [
            {"stepId": first, "pluginId": "echo", "type": "action", "inputs": {"x": "1"}, "outputs": {"x": "string"}},
            {
                "stepId": second.upper(),
                "type": "Decision",
                "condition": f"${{{first}.x}} == '1'",
                "branches": [{"condition": "true", "steps": [step(step_id=branch_step)]}],
                "children": [step("delay", inputs={"ms": "0"}, config={"timeoutMs": 100, "retryCount": 2, "retryDelayMs": 5})],
            },
        ],
    }
    response = api.post("/flows", json=request)
    assert response.status_code == 201, response.text
    flow = api.data(f"/flows/{response.json()['data']['id']}")
    assert flow["name"] == "Überall ☃" and flow["cron"] == "*/5 * * * *" and flow["timezone"] == "Europe/Berlin"
    assert flow["labels"] == {"team": "a.b$c", "env": "test"}
    one, two = flow["steps"]
    assert one["stepId"] == first and one["type"] == "ACTION" and one["inputs"] == {"x": "1"}
    assert one["outputs"] == {"x": "string"} and one["condition"] is None
    assert two["stepId"] == second and two["type"] == "DECISION" and two["pluginId"] is None
    assert UUID.match(two["branches"][0]["branchId"])
    assert two["branches"][0]["steps"][0]["stepId"] == branch_step
    assert two["children"][0]["config"] == {"timeoutMs": 100, "retryCount": 2, "retryDelayMs": 5}


def test_a_step_id_is_made_when_absent(api):
    flow = api.data("/flows/" + api.create_flow([{"pluginId": "echo", "type": "ACTION"}]))
    assert UUID.match(flow["steps"][0]["stepId"])


def test_null_members_mean_absent(api):
    body = {"name": "n", "description": None, "cron": None, "timezone": None, "labels": None, "steps": None}
    assert api.post("/flows", json=body).status_code == 201
    nulls = dict.fromkeys(("stepId", "inputs", "outputs", "condition", "branches", "children", "config"))
    assert api.post("/flows", json={"name": "n", "steps": [{"pluginId": "echo", "type": "ACTION", **nulls}]}).status_code == 201


def test_a_plugin_may_be_any_uuid_or_a_known_name(api):
    assert api.post("/flows", json={"name": "n", "steps": [step(new_id())]}).status_code == 201
    faults = faults_of(api.post("/flows", json={"name": "n", "steps": [step("no-such-plugin")]}))
    assert faults["steps[0].pluginId"]["rejectedValue"] == "no-such-plugin"


# ---- update and delete ----


def test_put_replaces_all_but_absent_steps(api):
    flow_id = api.create_flow([step()], name="old", description="d", cron="@hourly", labels={"a": "b"})
    response = api.put(f"/flows/{flow_id}", json={"name": "new"})
    assert response.status_code == 200 and response.headers["ETag"] == '"2"'
    flow = api.data(f"/flows/{flow_id}")
    assert (flow["name"], flow["description"], flow["cron"], flow["labels"]) == ("new", None, None, {})
    assert len(flow["steps"]) == 1 and flow["version"] == 2
    assert flow["updatedAt"] >= flow["createdAt"]
    assert api.put(f"/flows/{flow_id}", json={"name": "new", "steps": []}).status_code == 200
    assert api.data(f"/flows/{flow_id}")["steps"] == []


def test_put_requires_a_name_and_reports_every_fault(api):
    flow_id = api.create_flow()
    faults = faults_of(api.put(f"/flows/{flow_id}", json={"cron": "61 * * * *", "steps": [{"type": "ACTION"}]}))
    assert {"name", "cron", "steps[0].pluginId"} <= set(faults)


def test_delete_is_for_good(api):
    flow_id = api.create_flow()
    response = api.delete(f"/flows/{flow_id}")
    assert response.status_code == 204 and response.content == b""
    error_of(api.get(f"/flows/{flow_id}"), 404, "NOT_FOUND")
    error_of(api.put(f"/flows/{flow_id}", json={"name": "x"}), 404, "NOT_FOUND")
    error_of(api.delete(f"/flows/{flow_id}"), 404, "NOT_FOUND")
    error_of(api.post(f"/flows/{flow_id}/start"), 404, "NOT_FOUND")
    assert api.data("/flows") == []


# ---- preconditions ----


def test_if_none_match_spares_the_body(api):
    path = f"/flows/{api.create_flow()}"
    for tag in ('"1"', 'W/"1"', '"9", "1"', "*"):
        response = api.get(path, headers={"If-None-Match": tag})
        assert response.status_code == 304 and response.content == b"" and response.headers["ETag"] == '"1"', tag
    assert api.get(path, headers={"If-None-Match": '"2"'}).status_code == 200


def test_if_match_guards_put_and_delete(api):
    path = f"/flows/{api.create_flow()}"
    error_of(api.put(path, json={"name": "b"}, headers={"If-Match": '"7"'}), 412, "PRECONDITION_FAILED")
    error_of(api.put(path, json={"name": "b"}, headers={"If-Match": 'W/"1"'}), 412, "PRECONDITION_FAILED")
    assert api.put(path, json={"name": "b"}, headers={"If-Match": '"7", "1"'}).status_code == 200
    error_of(api.delete(path, headers={"If-Match": '"1"'}), 412, "PRECONDITION_FAILED")
    assert api.put(path, json={"name": "c"}, headers={"If-Match": "*"}).status_code == 200
    assert api.delete(path, headers={"If-Match": '"3"'}).status_code == 204
    assert api.get(path).status_code == 404


def test_one_of_two_writers_with_the_same_tag_loses(api):
    path = f"/flows/{api.create_flow()}"
    answers = [api.put(path, json={"name": name}, headers={"If-Match": '"1"'}).status_code for name in ("one", "two")]
    assert answers == [200, 412]


def test_a_broken_tag_is_refused(api):
    path = f"/flows/{api.create_flow()}"
    assert api.put(path, json={"name": "b"}, headers={"If-Match": "1"}).status_code == 400
    assert api.data(path)["name"] == "a flow"


# ---- validation ----


def test_every_fault_at_once_with_its_path(api):
    one, two, gone = new_id(), new_id(), new_id()
    body = {
        "name": "  ",
        "cron": "99 * * * *",
        "timezone": "Mars/Base",
        "description": 5,
        "labels": {"a": 1},
        "steps": [
            step(step_id=one, inputs={"x": f"${{{gone}.out}}", "n": 7}, config={"timeoutMs": -1, "retryCount": 10**15}),
            step(step_id=one),
            step(step_id=two, type="JUMP", inputs={"self": f"${{{two}.out}}"}),
            step(condition="1 ==", children=[step("nope")]),
            {"stepId": "no-uuid", "pluginId": "echo", "type": "ACTION"},
            "not an object",
        ],
    }
    faults = faults_of(api.post("/flows", json=body))
    expected = {
        "name", "cron", "timezone", "description", "labels.a", "steps[0].inputs.x", "steps[0].inputs.n",
        "steps[0].config.timeoutMs", "steps[0].config.retryCount", "steps[1].stepId", "steps[2].type",
        "steps[2].inputs.self", "steps[3].condition", "steps[3].children[0].pluginId", "steps[4].stepId", "steps[5]",
    }
    assert expected <= set(faults), expected - set(faults)
    assert faults["steps[0].config.timeoutMs"]["rejectedValue"] == -1
    assert gone in faults["steps[0].inputs.x"]["message"]


def test_a_cycle_is_spelled_out_and_names_only_its_steps(api):
    a, b, c, aside = (new_id() for _ in range(4))
    steps = [
        step(step_id=a, inputs={"x": f"${{{b}.o}}"}),
        step(step_id=b, inputs={"x": f"{c}.o"}),
        step(step_id=c, inputs={"x": f"see ${{{a}.o}}"}),
        step(step_id=aside, inputs={"x": f"${{{a}.o}}"}),
    ]
    response = api.post("/flows", json={"name": "n", "steps": steps})
    (fault,) = [error for error in response.json()["errors"] if "cycle" in error["message"]]
    assert all(name in fault["message"] for name in (a, b, c)) and aside not in fault["message"]


def test_a_parent_that_refers_to_its_child_is_a_cycle(api):
    parent, child = new_id(), new_id()
    steps = [step(step_id=parent, inputs={"x": f"${{{child}.o}}"}, children=[step(step_id=child)])]
    assert "cycle" in api.post("/flows", json={"name": "n", "steps": steps}).json()["errors"][0]["message"]


def test_forward_references_and_urls_are_fine(api):
    later = new_id()
    steps = [step(inputs={"x": f"${{{later}.o}}", "url": "http://example.com/a.b"}), step(step_id=later)]
    assert api.post("/flows", json={"name": "n", "steps": steps}).status_code == 201


def test_sizes_of_a_definition(api):
    assert api.post("/flows", json={"name": "n", "steps": [step() for _ in range(1000)]}).status_code == 201
    faults_of(api.post("/flows", json={"name": "n", "steps": [step() for _ in range(1001)]}))

    def nested(levels):
        tree = step()
        for _ in range(levels - 1):
            tree = step(children=[tree])
        return tree

    assert api.post("/flows", json={"name": "n", "steps": [nested(32)]}).status_code == 201
    faults_of(api.post("/flows", json={"name": "n", "steps": [nested(33)]}))
    large = [step(inputs={"x": "y" * 60000}) for _ in range(10)]
    faults_of(api.post("/flows", json={"name": "n", "steps": large}))


def test_a_flood_of_faults_is_bounded(api):
    response = api.post("/flows", json={"name": "n", "steps": [{"type": "JUMP"} for _ in range(1000)]})
    assert response.status_code == 400
    assert 100 <= len(response.json()["errors"]) <= 101


@pytest.mark.parametrize("body", ["[]", '"text"', "5", "null", "true"])
def test_a_body_that_is_no_object(api, body):
    assert post_raw(api, body).status_code == 400


@pytest.mark.parametrize(
    "body, line, column",
    [
        (b'{"name": }', 1, 10),
        (b'{\n  "name": "a",\n  oops\n}', 3, 3),
        (b'{"name": "a", "name": "b"}', 1, None),
        (b'{"name": "a\\u0000b"}', 1, None),
        (b'{"name": "a\x00b"}', 1, None),
        (b'{"name": "\xff"}', 1, None),
        (b'{"name": "\\ud800"}', 1, None),
        (b'{"name": "a"} x', 1, None),
        (b'{"name": "a"', 1, None),
        (b"[" * 10000, 1, None),
        (b'{"name": 1e999}', 1, None),
        (b'{"name": "a", "x": 1e999}', 1, None),
        (b"\xef\xbb\xbf{}", 1, None),
        (b"", None, None),
    ],
)
def test_unreadable_json_names_line_and_column(api, body, line, column):
    error = error_of(post_raw(api, body), 400, "INVALID_REQUEST")
    if line is not None:
        found = re.search(r"line (\d+), column (\d+)", error["message"])
        assert found, error
        assert int(found.group(1)) == line
        assert column is None or int(found.group(2)) == column, error


# ---- paths, methods, types, sizes ----


def test_paths_and_ids(api):
    error_of(api.get("/flows/not-a-uuid"), 400, "INVALID_REQUEST")
    error_of(api.get(f"/flows/{new_id()}"), 404, "NOT_FOUND")
    error_of(api.get("/nothing"), 404, "NOT_FOUND")
    error_of(api.get("/api/other"), 404, "NOT_FOUND")
    flow_id = api.create_flow()
    assert api.get(f"/flows/{flow_id.upper()}").status_code == 200


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("PATCH", "/flows", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("DELETE", "/flows", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("POST", "/flows/{id}", {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}),
        ("GET", "/flows/{id}/start", {"POST", "OPTIONS"}),
        ("PUT", "/runs/{id}/status", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/stream/{id}", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_that_does_not_fit_is_405_with_allow(api, method, path, allowed):
    response = api.call(method, path.format(id=new_id()))
    error_of(response, 405, "METHOD_NOT_ALLOWED")
    assert set(response.headers["Allow"].replace(" ", "").split(",")) == allowed
    response = api.call("OPTIONS", path.format(id=new_id()))
    assert response.status_code == 204 and set(response.headers["Allow"].replace(" ", "").split(",")) == allowed


def test_head_is_get_without_a_body(api):
    flow_id = api.create_flow()
    for path in ("/flows", f"/flows/{flow_id}"):
        got, head = api.get(path, headers={"X-Request-Id": "same"}), api.call("HEAD", path, headers={"X-Request-Id": "same"})
        assert head.status_code == 200 and head.content == b""
        assert head.headers.get("ETag") == got.headers.get("ETag")
        assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert api.call("HEAD", f"/flows/{new_id()}").status_code == 404


def test_content_types(api):
    body = json.dumps({"name": "a"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"):
        error_of(api.post("/flows", data=body, headers={"Content-Type": kind}), 415, "UNSUPPORTED_MEDIA_TYPE")
    for kind in ("application/json", "Application/JSON; Charset=UTF-8", 'application/json;charset="utf-8"'):
        assert api.post("/flows", data=body, headers={"Content-Type": kind}).status_code == 201


def test_a_body_above_one_mebibyte_is_413(server, api):
    fits = json.dumps({"name": "a"}).encode()
    assert post_raw(api, fits + b" " * (1024 * 1024 - len(fits))).status_code == 201
    head = f"POST {BASE}/flows HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    answer = exchange(server.port, head + b"Content-Length: 1048577\r\n\r\n" + b"x" * 70000)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    assert b"TOO_LARGE" in answer
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as peer:
        peer.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(32):
                peer.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has seen enough
        answer = read_all(peer)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413"), answer[:200]
    assert api.get("/flows").status_code == 200


def test_headers_above_16_kib_are_431(server, api):
    fits = f"GET {BASE}/flows HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Large: {'x' * 15000}\r\n\r\n".encode()
    assert exchange(server.port, fits).startswith(b"HTTP/1.1 200")
    answer = exchange(server.port, fits.replace(b"X-Large: ", b"X-Large: " + b"x" * 5000))
    assert answer.startswith(b"HTTP/1.1 431"), answer[:200]
    assert b"HEADERS_TOO_LARGE" in answer
    assert api.get("/flows").status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 14\r\nContent-Length: 15\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 14\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x0e\r\n",
        "Host: other\r\n",
    ],
)
def test_requests_that_could_be_read_in_two_ways_are_refused_and_closed(server, head):
    request = f"POST {BASE}/flows HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{head}\r\n" + '{"name": "a"}\n'
    smuggled = f"GET {BASE}/flows HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = exchange(server.port, (request + smuggled).encode())
    assert answer.startswith(b"HTTP/1.1 400") or answer.startswith(b"HTTP/1.1 501"), answer[:300]
    assert answer.count(b"HTTP/1.1 ") == 1, answer


def test_a_request_without_a_host_is_refused(server):
    assert exchange(server.port, f"GET {BASE}/flows HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 400")


def test_a_foreign_host_is_refused_without_authentication(server):
    """A page that rebinds its name to this machine must not get at the flows of whoever opened it."""
    answer = exchange(server.port, f"GET {BASE}/flows HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\r\n" * 5000, b"GET / HTTP/9.9\r\n\r\n", b"\0" * 20000])
def test_junk_leaves_the_server_in_good_health(server, api, junk):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer:
        try:
            peer.sendall(junk)
            peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # closed on us already
        read_all(peer, 5)
    assert api.get("/flows").status_code == 200


def test_pipelined_requests_are_answered_in_order(server):
    one = f"GET {BASE}/flows?pageSize=%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = f"GET {BASE}/flows?pageSize=9 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = exchange(server.port, "".join([one % n for n in range(1, 9)] + [last]).encode()).decode()
    assert re.findall(r'"pageSize":(\d+)', answer) == [str(n) for n in range(1, 10)]


# ---- owners ----


def test_somebody_elses_flow_does_not_exist(server, api):
    flow_id = api.create_flow([delay(0)])
    run_id = api.start(flow_id)
    api.wait_end(run_id)
    other = Client(server)
    calls = [
        ("GET", f"/flows/{flow_id}"), ("DELETE", f"/flows/{flow_id}"), ("POST", f"/flows/{flow_id}/start"),
        ("GET", f"/runs/{run_id}/status"), ("GET", f"/runs/{run_id}/events"), ("GET", f"/stream/{run_id}"),
        ("POST", f"/runs/{run_id}/stop"),
    ]
    for method, path in calls:
        theirs = other.call(method, path)
        nobodys = other.call(method, path.replace(flow_id, new_id()).replace(run_id, new_id()))
        assert theirs.status_code == nobodys.status_code == 404, (method, path, theirs.text)
        assert theirs.json()["errors"][0]["code"] == "NOT_FOUND"
    error_of(other.put(f"/flows/{flow_id}", json={"name": "mine"}), 404, "NOT_FOUND")
    assert other.data("/flows") == [] and other.data("/runs") == []
    assert other.data(f"/flows/{flow_id}/runs") == other.data(f"/flows/{new_id()}/runs") == []
    assert api.data(f"/flows/{flow_id}")["version"] == 1


def test_without_a_header_there_is_one_local_user(server):
    local = Client(server)
    del local.session.headers["X-User-Id"]
    flow_id = local.create_flow()
    assert flow_id in [flow["id"] for flow in local.data("/flows")]
    assert Client(server).get(f"/flows/{flow_id}").status_code == 404
    error_of(local.get("/flows", headers={"X-User-Id": "me"}), 401, "UNAUTHENTICATED")


# ---- lists ----


def pages_by_cursor(api, path, **params):
    items, cursor = [], None
    while True:
        page = api.get(path, params={**params, **({"cursor": cursor} if cursor else {})}).json()
        items.append(page["data"])
        cursor = page["metadata"].get("additional", {}).get("nextCursor")
        if cursor is None:
            return items


def test_pages_by_number(api):
    ids = list_order(api.data(f"/flows/{api.create_flow(name=f'flow {i}')}") for i in range(7))
    first = api.get("/flows", params={"page": 0, "pageSize": 3}).json()
    assert [flow["id"] for flow in first["data"]] == ids[:3]
    metadata = first["metadata"]
    assert (metadata["totalCount"], metadata["pageSize"], metadata["currentPage"]) == (7, 3, 0)
    assert metadata["additional"]["nextCursor"]
    last = api.get("/flows", params={"page": 2, "pageSize": 3}).json()
    assert [flow["id"] for flow in last["data"]] == ids[6:]
    assert "nextCursor" not in last["metadata"].get("additional", {})
    beyond = api.get("/flows", params={"page": 9, "pageSize": 3})
    assert beyond.status_code == 200 and beyond.json()["data"] == []
    assert api.get("/flows").json()["metadata"]["pageSize"] == 50
    assert set(first["data"][0]) >= SUMMARY and "steps" not in first["data"][0]


def test_a_cursor_survives_inserts_and_deletes(api):
    ids = list_order(api.data(f"/flows/{api.create_flow()}") for _ in range(9))
    page = api.get("/flows", params={"pageSize": 4}).json()
    seen = [flow["id"] for flow in page["data"]]
    api.create_flow(name="came later")
    api.delete(f"/flows/{seen[1]}")
    cursor = page["metadata"]["additional"]["nextCursor"]
    while cursor:
        page = api.get("/flows", params={"cursor": cursor, "pageSize": 4}).json()
        seen += [flow["id"] for flow in page["data"]]
        cursor = page["metadata"].get("additional", {}).get("nextCursor")
    assert seen == ids


def test_cursor_pages_have_everything_once(api):
    ids = list_order(api.data(f"/flows/{api.create_flow()}") for _ in range(12))
    pages = pages_by_cursor(api, "/flows", pageSize=5)
    assert [len(page) for page in pages] == [5, 5, 2]
    assert [flow["id"] for page in pages for flow in page] == ids


@pytest.mark.parametrize(
    "params, field",
    [
        ({"page": "-1"}, "page"),
        ({"page": "x"}, "page"),
        ({"page": "99999999999999999999"}, "page"),
        ({"pageSize": "0"}, "pageSize"),
        ({"pageSize": "201"}, "pageSize"),
        ({"pageSize": ""}, "pageSize"),
        ({"cursor": "forged"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "A" * 3000}, "cursor"),
    ],
)
def test_paging_out_of_range_names_the_parameter(api, params, field):
    for path in ("/flows", "/runs"):
        response = api.get(path, params=params)
        assert response.status_code == 400, response.text
        assert field in [error.get("field") for error in response.json()["errors"]]


def test_page_and_cursor_at_once_is_refused(api):
    for _ in range(2):
        api.create_flow()
    cursor = api.get("/flows", params={"pageSize": 1}).json()["metadata"]["additional"]["nextCursor"]
    assert api.get("/flows", params={"cursor": cursor, "page": 0}).status_code == 400


def test_a_changed_or_borrowed_cursor_is_refused(server, api):
    for _ in range(3):
        api.create_flow()
    cursor = api.get("/flows", params={"pageSize": 1}).json()["metadata"]["additional"]["nextCursor"]
    assert api.get("/flows", params={"cursor": cursor, "pageSize": 1}).status_code == 200
    for i in range(len(cursor) - 1):
        forged = cursor[:i] + ("A" if cursor[i] != "A" else "B") + cursor[i + 1 :]
        assert api.get("/flows", params={"cursor": forged}).status_code == 400, (i, forged)
    assert api.get("/runs", params={"cursor": cursor}).status_code == 400
    other = Client(server).get("/flows", params={"cursor": cursor})
    assert other.status_code == 400 or other.json()["data"] == []
