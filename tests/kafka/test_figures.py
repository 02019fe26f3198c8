"""What /metrics and /readyz tell of a bus that is a broker."""

import subprocess

import requests

from harness import ROOT, Client, step, wait_until


def test_a_broker_that_is_away_shows(make_broker, make_server):
    broker = make_broker().start()
    server = make_server(broker).start()
    api = Client(server)
    assert server.metric("status_lag") == 0 and server.metric("status_partitions") == 3
    assert server.readiness()["components"]["bus"] == {"status": "up", "reason": None}
    api.start(api.create_flow([step()]))
    wait_until(lambda: server.metric("commands_published_total") == 1, what="the command on the topic")
    wait_until(lambda: server.metric("relay_lag_seconds") == 0, what="nothing in line")

    broker.kill()
    api.start(api.create_flow([step()]))
    wait_until(lambda: server.metric("relay_lag_seconds") > 2 and server.metric("bus_up") == 0, 60, "a lag that grows")
    assert server.metric("commands_waiting") + server.metric("bus_commands_queued") >= 1
    ready = server.readiness()
    assert ready["status"] == "degraded" and ready["components"]["store"]["status"] == "up"
    assert ready["components"]["bus"]["status"] == "down" and ready["components"]["bus"]["reason"].startswith("the bus is down")
    text = requests.get(f"{server.url}/metrics", timeout=10).text
    assert subprocess.run([ROOT / "tools" / "promtool", "check", "metrics"], input=text, text=True, check=False, timeout=300).returncode == 0

    broker.start()
    wait_until(lambda: server.metric("commands_published_total") == 2, 60, "the other command on the topic")
    wait_until(lambda: server.metric("relay_lag_seconds") == 0, what="the end of the lag")
    wait_until(lambda: server.readiness()["status"] == "ready", 30, "readiness")
