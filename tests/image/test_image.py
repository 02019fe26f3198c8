"""The image, as it is built and as it runs."""

import os
import signal
import time

from harness import Client, flow_status_of, step, wait_until

from image_harness import BASE, IMAGE, is_gone

MAX_ADDED_BYTES = 75_000_000
END_LIMIT_S = 5


def on(servers, **more):
    return {"KAFKA_BROKER": servers["kafka"].address, "MONGO_URI": f"mongodb://{servers['mongo-java'].address}", **more}


def test_the_image_adds_little_to_its_base(containers):
    added = containers.inspect(IMAGE)["Size"] - containers.inspect(BASE)["Size"]
    print(f"{added / 1e6:.1f} MB above the base")
    assert 0 < added <= MAX_ADDED_BYTES


def test_the_image_is_labelled(containers):
    found = containers.inspect(IMAGE)
    config = found["Config"]
    assert config["Labels"]["org.opencontainers.image.title"] == "FlowOps Execution Service"
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert "8080/tcp" in config["ExposedPorts"]
    assert "/var/lib/flowops" in config["Volumes"]
    assert (config.get("Healthcheck") or found["Healthcheck"])["Test"] == ["CMD", "flowops", "health"]


def test_it_refuses_to_listen_to_everybody_unasked(make_container):
    container = make_container("serve", LISTEN_ADDR="0.0.0.0")
    wait_until(lambda: container.state()["Status"] == "exited", 20, "the end")
    assert container.state()["ExitCode"] == 1
    assert "AUTH_MODE" in container.log()


def test_it_is_not_root_has_no_rights_and_keeps_its_data_with_a_read_only_root(make_container):
    container = make_container()
    container.wait_health(True)
    status = container.status_of_process()
    assert set(status["Uid"].split()) == {"10001"} and set(status["Gid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1"
    api = Client(container)
    assert api.run([step()])["status"] == "COMPLETED"
    flow_id = api.create_flow([step()], cron="0 9 * * *", timezone="Europe/Berlin")
    assert api.data(f"/flows/{flow_id}")["nextRunAt"]  # time zones are there
    container.engine.call("exec", container.name, "test", "-s", "/var/lib/flowops/flowops.db")
    for path in ("/usr/bin/new", "/etc/new"):
        container.engine.call("exec", container.name, "sh", "-c", f"! touch {path}")


def test_sigterm_ends_it_as_process_1(make_container):
    container = make_container()
    container.wait_health(True)
    pid = container.pid()
    assert container.status_of_process()["NSpid"].split()[-1] == "1"
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: is_gone(pid), END_LIMIT_S, "the end")
    assert time.monotonic() - began < END_LIMIT_S
    wait_until(lambda: container.state()["Status"] == "exited", 20, "what the container engine says")
    assert container.state()["ExitCode"] == 0


def test_health_goes_and_comes_back(make_container, servers):
    container = make_container(**on(servers))
    container.wait_health(True)
    servers["mongo-java"].signal(signal.SIGSTOP)
    container.wait_health(False)
    servers["mongo-java"].signal(signal.SIGCONT)
    container.wait_health(True)


def test_a_flow_runs_through_service_and_engine(make_container, servers):
    service = make_container(**on(servers))
    service.wait_health(True)
    engine = make_container("engine", KAFKA_BROKER=servers["kafka"].address)
    engine.wait_log("engine started")
    api = Client(service)
    run_id = api.start(api.create_flow([step(inputs={"who": "world"})]))
    with api.stream(run_id, params="?from=0") as stream:
        statuses = [status for status in map(flow_status_of, stream) if status]
    assert statuses[0] == "RUNNING" and statuses[-1] == "COMPLETED"
    assert api.wait_end(run_id)["steps"][0]["outputs"] == {"who": "world"}
    pid = engine.pid()
    engine.engine.call("stop", "--time", str(END_LIMIT_S), engine.name)
    assert is_gone(pid) and engine.state()["ExitCode"] == 0
