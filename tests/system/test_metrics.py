"""/metrics, the dashboard that shows them, and what the log says of requests."""

import json
import re
import subprocess

import pytest

from harness import BASE, ROOT, Client, Server, delay, exchange, new_id, step, wait_until

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "flowops.json").read_text(encoding="utf-8"))
SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
SCRAPER_LABELS = {"job", "instance"}  # Prometheus adds these
PANEL_TYPES = {"row", "stat", "timeseries"}  # of today's Grafana; graph, singlestat and table-old are gone from it
SUFFIXES = ("_bucket", "_sum", "_count")


def promtool(*words, text=""):
    return subprocess.run([ROOT / "tools" / "promtool", *words], input=text, capture_output=True, text=True, check=False, timeout=300)


def scrape(server):
    response = Client(server).get(f"{server.url}/metrics")
    assert response.status_code == 200
    return response.text


def samples_of(text):
    """(name, {label: value}) -> value, as pairs."""
    samples = []
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            samples.append((name, dict(LABEL.findall(labels or "")), float(value)))
    return samples


def value_of(server, name, **labels):
    """The sum of the samples with these labels; 0 when there are none."""
    return sum(value for sample, has, value in samples_of(scrape(server))
               if sample == name and labels.items() <= has.items())


def requests_of(server, method, route, status):
    return value_of(server, "flowops_http_requests_total", method=method, route=route, status=str(status))


@pytest.fixture(scope="module")
def used(server):
    """The server after a bit of everything."""
    api = Client(server)
    run_id = api.run([step()])["id"]
    api.run([step("fail", inputs={"message": "on purpose"})])
    with api.stream(run_id, params="?from=0") as stream:
        list(stream)
    assert api.get("/nowhere").status_code == 404
    exchange(server.port, b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n")
    return server


# ---- the format ----


def test_promtool_has_no_complaint(used):
    result = promtool("check", "metrics", text=scrape(used))
    assert result.returncode == 0 and result.stdout == "" and result.stderr == "", result.stdout + result.stderr


def test_promtool_does_complain():
    """Else the test above would mean nothing."""
    assert promtool("check", "metrics", text="# TYPE x_total gauge\nx_total 1\n").returncode != 0
    assert promtool("check", "metrics", text="x{ 1\n").returncode != 0


def test_every_metric_has_help_and_type_once(used):
    text = scrape(used)
    for mark in ("HELP", "TYPE"):
        names = re.findall(rf"^# {mark} (\S+) \S", text, re.MULTILINE)
        assert len(names) == len(set(names))
        assert {base_of(name, text) for name, _, _ in samples_of(text)} <= set(names)


def base_of(name, text):
    """A histogram's own name."""
    for suffix in SUFFIXES:
        if name.endswith(suffix) and f"# TYPE {name.removesuffix(suffix)} histogram" in text:
            return name.removesuffix(suffix)
    return name


def test_histograms_add_up(used):
    text = scrape(used)
    samples = samples_of(text)
    histograms = re.findall(r"^# TYPE (\S+) histogram$", text, re.MULTILINE)
    assert len(histograms) >= 4
    for histogram in histograms:
        series = {}
        for name, labels, value in samples:
            if name == f"{histogram}_bucket":
                bound = labels.pop("le")
                series.setdefault(tuple(sorted(labels.items())), []).append((float(bound), value))
        counts = {tuple(sorted(labels.items())): value for name, labels, value in samples if name == f"{histogram}_count"}
        assert series.keys() == counts.keys() and series
        for labels, buckets in series.items():
            assert buckets == sorted(buckets) and [n for _, n in buckets] == sorted(n for _, n in buckets)
            assert buckets[-1] == (float("inf"), counts[labels])


# ---- what is counted ----


def test_requests_are_counted_by_route_and_status(used):
    api = Client(used)
    route = f"{BASE}/runs/{{id}}/status"
    before = requests_of(used, "GET", route, 404)
    n_timed = value_of(used, "flowops_http_request_duration_seconds_count", method="GET", route=route)
    for _ in range(5):
        assert api.get(f"/runs/{new_id()}/status").status_code == 404
    assert requests_of(used, "GET", route, 404) == before + 5
    assert value_of(used, "flowops_http_request_duration_seconds_count", method="GET", route=route) == n_timed + 5


def test_no_client_makes_a_series(used):
    """The labels are the routes' own: neither ids nor unknown paths and methods are among them."""
    api = Client(used)
    api.get("/nowhere")
    scrape(used)  # its own route's series
    n_series = len(samples_of(scrape(used)))
    for _ in range(20):
        api.get(f"/{new_id()}/{new_id()}")
        api.call("PATCH", f"/flows/{new_id()}")
        api.get("/nowhere", params={"x": new_id()})
    exchange(used.port, b"BREW /pot HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert requests_of(used, "other", "other", 404) >= 41 and requests_of(used, "other", "other", 405) >= 20
    text = scrape(used)
    assert len(samples_of(text)) <= n_series + 2  # 405 and 501 of "other"
    assert api.user not in text and "nowhere" not in text and "PATCH" not in text and "BREW" not in text


def test_refused_requests_are_counted(used):
    before = value_of(used, "flowops_http_refused_total")
    exchange(used.port, b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n")
    assert value_of(used, "flowops_http_refused_total") == before + 1


def test_runs_steps_and_commits_are_counted(make_server):
    server = make_server().start()
    api = Client(server)
    api.run([step(), step()])
    api.run([step("fail", inputs={"message": "on purpose"})])
    assert value_of(server, "flowops_run_statuses_total", status="PENDING") == 2
    assert value_of(server, "flowops_run_statuses_total", status="COMPLETED") == 1
    assert value_of(server, "flowops_run_statuses_total", status="FAILED") == 1
    assert value_of(server, "flowops_step_statuses_total", status="RUNNING") == 3
    assert value_of(server, "flowops_step_statuses_total", status="COMPLETED") == 2
    assert value_of(server, "flowops_step_statuses_total", status="FAILED") == 1
    samples = {name: value for name, labels, value in samples_of(scrape(server)) if not labels}
    assert samples["flowops_commits_total"] >= 4
    assert samples["flowops_commit_size_items_count"] == samples["flowops_commit_duration_seconds_count"]
    assert samples["flowops_commit_size_items_sum"] >= samples["flowops_commit_size_items_count"]
    assert samples["flowops_commit_duration_seconds_sum"] > 0


def test_frames_and_streams_are_counted(used):
    api = Client(used)
    run_id = api.start(api.create_flow([delay(60000)]))
    api.wait_status(run_id, "RUNNING")
    n_frames = value_of(used, "flowops_stream_frames_total")
    n_streams = value_of(used, "flowops_http_streams")
    with api.stream(run_id, params="?from=0") as stream:
        frames = stream.until(lambda frame: frame.payload.get("eventType") == "STEP_STATUS")
        assert value_of(used, "flowops_http_streams") == n_streams + 1
        api.command(run_id, "stop")
        frames += list(stream)
    assert value_of(used, "flowops_stream_frames_total") == n_frames + len(frames)
    wait_until(lambda: value_of(used, "flowops_http_streams") == n_streams, what="the stream's end")


def test_a_command_that_waits_shows_in_the_lag(make_server):
    """Without an engine the bus within a process takes no command."""
    server = make_server(ENGINE="off").start()
    api = Client(server)
    assert value_of(server, "flowops_relay_lag_seconds") == 0
    run_id = api.start(api.create_flow([step()]))
    first = wait_until(lambda: value_of(server, "flowops_relay_lag_seconds"), what="the lag")
    wait_until(lambda: value_of(server, "flowops_relay_lag_seconds") > first, what="a lag that grows")
    server.stop()
    server.settings["ENGINE"] = "on"
    server.start()
    api.wait_end(run_id)
    wait_until(lambda: value_of(server, "flowops_relay_lag_seconds") == 0, what="the end of the lag")


def test_process_figures_are_the_kernels(used):
    figures = {name: value for name, labels, value in samples_of(scrape(used)) if not labels}
    assert figures["process_open_fds"] == pytest.approx(used.open_descriptors(), abs=3)
    assert figures["process_resident_memory_bytes"] == pytest.approx(used.resident_bytes(), rel=0.2)
    assert figures["process_cpu_seconds_total"] == pytest.approx(used.processor_seconds(), abs=0.5)
    assert figures["process_virtual_memory_bytes"] > figures["process_resident_memory_bytes"]
    assert figures["process_max_fds"] > figures["process_open_fds"] and figures["process_threads"] > 5
    started = subprocess.run(["date", "-d", subprocess.run(["ps", "-o", "lstart=", "-p", str(used.process.pid)], capture_output=True,
                                                           text=True, check=True).stdout, "+%s"], capture_output=True, text=True,
                             check=True).stdout
    assert figures["process_start_time_seconds"] == pytest.approx(int(started), abs=3)


# ---- the dashboard ----


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions():
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def variable_queries():
    return [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]


def selectors_of(expression):
    """The names in a PromQL expression that are metrics, each with the labels that are asked of it."""
    groupings = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    grouped = {label.strip() for grouping in groupings for label in grouping.split(",")}
    bare = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)", " ", expression)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    found = []
    for name, braces in re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\{((?:[^}\"]|\"[^\"]*\")*)\})?", re.sub(r'"[^"]*"(?=\s*[,}])', '""', bare)):
        if name in ("or", "and", "unless", "le", "bool", "offset") or not re.search(rf"{name}\{{|^{name}$", bare):
            continue
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces))
        found.append((name, asked | grouped))
    return found


def labels_in(samples):
    labels = {}
    for name, has, _ in samples:
        labels.setdefault(name, set()).update(has)
    return labels


def test_the_reader_of_expressions():
    assert selectors_of('a_total{x=~"y|z", job="$j"}') == [("a_total", {"x", "job"})]
    assert selectors_of('sum by (le, r) (rate(a_bucket{x="}"}[5m])) / b{}') == [("a_bucket", {"x", "le", "r"}), ("b", {"le", "r"})]
    assert selectors_of('time() - c{x="1"} or vector(0)') == [("c", {"x"})]


def test_every_query_asks_for_what_exists(used):
    labels = labels_in(samples_of(scrape(used)))
    assert len(expressions()) >= 50
    for expression in expressions():
        selectors = selectors_of(expression)
        assert selectors, expression
        for name, asked in selectors:
            assert name in labels, f"no metric {name}: {expression}"
            # A grouping holds for every operand of the expression, so all of its labels are there.
            assert asked - SCRAPER_LABELS <= labels[name], f"{name} has no {asked - SCRAPER_LABELS - labels[name]}: {expression}"


def test_every_value_asked_for_can_be_there(used):
    """status="FAILED" and its like: exact values and alternatives in matchers are values that exist, or are codes."""
    values = {}
    for name, has, _ in samples_of(scrape(used)):
        for label, value in has.items():
            values.setdefault((name, label), set()).add(value)
    n_checked = 0
    for expression in expressions():
        for name, braces in re.findall(r"(\w+)\{([^}]*)\}", expression):
            for label, text in re.findall(r'(\w+)=~?"([^"$]*)"', braces):
                if text != "5..":
                    assert set(text.split("|")) <= values[name, label], expression
                    n_checked += 1
    assert n_checked >= 3


def test_every_metric_of_ours_is_shown_or_known(used):
    """What the dashboard leaves out is left out on purpose."""
    text = scrape(used)
    shown = {base_of(name, text) for expression in expressions() for name, _ in selectors_of(expression)}
    existing = {base_of(name, text) for name, _, _ in samples_of(text)}
    assert existing - shown == {"flowops_http_requests_received_total", "flowops_relay_idle", "process_virtual_memory_bytes"}


def test_the_documents_list_every_metric(used):
    text = scrape(used)
    document = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`((?:flowops|process)_\w+)", document))
    assert {base_of(name, text) for name, _, _ in samples_of(text)} == listed


def test_promtool_parses_every_query(tmp_path):
    rules = []
    for i, expression in enumerate(expressions()):
        plain = expression.replace("$__rate_interval", "5m").replace("$__range", "1h").replace("$job", ".*").replace("$instance", ".*")
        assert "$" not in plain, expression
        rules.append({"record": f"panel:{i}", "expr": plain})
    path = tmp_path / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    result = promtool("check", "rules", str(path))
    assert result.returncode == 0 and f"{len(rules)} rules found" in result.stdout, result.stdout + result.stderr


def test_variables_ask_for_what_exists(used):
    labels = labels_in(samples_of(scrape(used)))
    assert len(variable_queries()) == 2
    for query in variable_queries():
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
        assert label in SCRAPER_LABELS and selector.partition("{")[0] in labels


def test_the_dashboard_is_in_good_order():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert {panel["type"] for panel in DASHBOARD["panels"]} <= PANEL_TYPES
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"] and panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


# ---- the log ----


def lines_of(server):
    """Every line of the log."""
    return [json.loads(line) for line in server.log().splitlines()]


def test_debug_has_a_line_for_every_request(make_server):
    server = make_server(LOG_LEVEL="debug").start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    run_id = api.wait_end(api.start(flow_id))["id"]
    response = api.get(f"/runs/{run_id}/status", params={"token": "hidden"}, headers={"X-Request-Id": "mine-1"})
    assert response.headers["X-Request-Id"] == "mine-1"
    [line] = [line for line in lines_of(server) if line.get("requestId") == "mine-1"]
    assert line["level"] == "debug" and line["message"] == "request" and line["status"] == "200" and line["method"] == "GET"
    assert line["route"] == f"{BASE}/runs/{{id}}/status" and run_id in line["path"] and int(line["durationUs"]) >= 0
    assert "hidden" not in server.log()
    server.stop()


def test_info_has_no_line_for_requests(used):
    assert not [line for line in lines_of(used) if line["message"] == "request"]


def test_every_line_is_json_whatever_comes(make_server):
    """Control characters, broken UTF-8 and line ends in whatever a client can say."""
    server = make_server(LOG_LEVEL="debug").start()
    for target in (b"/%00%01%1b[31m", b"/%ff%fe%c3(", b"/%0a%0d%0a", b"/\xff\xfe", b"/%e2%80%ae", b"/" + b"x" * 9000):
        exchange(server.port, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: \xff\"}\r\nConnection: close\r\n\r\n")
    api = Client(server)
    wait_until(lambda: api.get("/runs").status_code == 200, what="an answer")
    server.stop()
    lines = server.log_path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    requests = 0
    for line in lines:
        assert min(line) >= 0x20 and 0x7f not in line
        members = json.loads(line.decode("utf-8"))
        assert members["level"] in ("debug", "info", "warning", "error") and members["time"] and members["message"]
        requests += members["message"].startswith("request")
    assert requests >= 7


SECRETS = {"GATEWAY_SECRET": "s3cr3t-of-the-gateway", "MONGO_URI": "s3cr3t-of-mongo", "KAFKA_OPTIONS": "s3cr3t-of-kafka",
           "Authorization": "s3cr3t-bearer", "Cookie": "s3cr3t-cookie", "query": "s3cr3t-query", "body": "s3cr3t-body"}


def test_no_secret_is_in_the_log(tmp_path):
    """At the chattiest level, with servers that do not answer, so that drivers complain, too."""
    server = Server(tmp_path / "data", LOG_LEVEL="debug", AUTH_MODE="gateway", GATEWAY_SECRET=SECRETS["GATEWAY_SECRET"],
                    MONGO_URI=f"mongodb://user:{SECRETS['MONGO_URI']}@127.0.0.1:1/?serverSelectionTimeoutMS=300", KAFKA_BROKER="127.0.0.1:1",
                    KAFKA_OPTIONS=f"security.protocol=SASL_PLAINTEXT,sasl.mechanism=PLAIN,sasl.username=u,sasl.password={SECRETS['KAFKA_OPTIONS']}")
    server.spawn()
    try:
        server.port = int(wait_until(server._announced_port, 30, "the server's address"))
        for given in (SECRETS["GATEWAY_SECRET"], "s3cr3t-wrong"):
            api = Client(server, headers={"X-Gateway-Secret": given, "Authorization": f"Bearer {SECRETS['Authorization']}",
                                          "Cookie": f"id={SECRETS['Cookie']}"})
            for call in (lambda: api.get("/flows", params={"q": SECRETS["query"]}),
                         lambda: api.post("/flows", json={"name": SECRETS["body"], "steps": 7}),
                         lambda: api.post(f"/flows/{new_id()}/start", json={"inputs": {"password": SECRETS["body"]}})):
                assert call().status_code in (400, 401, 503)
        assert api.get(f"{server.url}/readyz").status_code == 503
        wait_until(lambda: "the bus is down" in server.log(), 30, "the bus's line")
        server.terminate()
        server.process.wait(30)
        assert '"message":"request"' in server.log() and "s3cr3t" not in server.log()
    finally:
        server.kill()
