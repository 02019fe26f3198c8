"""Brokers that want to know who comes, and let not everybody do everything."""

import subprocess
import threading

import pytest

from harness import Client, Server, step, wait_until
from kafka_harness import COMMANDS, LETTERS, STATUSES, UPDATES, Broker

PASSWORD, WRONG = "S3cr3t-of-flowops", "Wr0ng-of-flowops"
USER = "flowops"
OTHER = "somebody"  # who may come in and do what the tests give them


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """A broker with every kind of listener; `flowops` may do everything that a service and an engine need."""
    users = ["--user", f"{USER}:{PASSWORD}", "--user", f"{OTHER}:{PASSWORD}"]
    broker = Broker(tmp_path_factory.mktemp("secure"), ["SASL_PLAINTEXT", "SSL", "SASL_SSL"], ["--authorize", *users]).start()
    for user in (USER, "CN=client"):
        broker.allow(user, [("topic", "execution.*", operation) for operation in ("READ", "WRITE", "CREATE", "DESCRIBE")])
        broker.allow(user, [("group", "flowops-*", "READ")])
    yield broker
    broker.kill()


def sasl(password, user=USER):
    return f"sasl.mechanism=PLAIN,sasl.username={user},sasl.password={password}"


def authority(broker):
    return f"ssl.ca.location={broker.folder}/tls/ca.pem"


def certificate(broker):
    return f"ssl.certificate.location={broker.folder}/tls/client.pem,ssl.key.location={broker.folder}/tls/client.pem"


def settings(broker, protocol, *options):
    """What a service or an engine is told to come by this listener."""
    return {"KAFKA_BROKER": f"localhost:{broker.ports[protocol]}",
            "KAFKA_OPTIONS": ",".join([f"security.protocol={protocol.lower()}", *options])}


def start(server):
    """Without waiting for partitions, which it will not get."""
    Server.start_waiting(server.spawn())


def wait_reason(server, *words, timeout=20):
    """The reason for being degraded, once it has these words: the library says what hinders it in more than one way."""
    def reason():
        ready = server.readiness()
        assert ready["status"] == "degraded", ready
        return ready["reason"] if all(word in ready["reason"] for word in words) else None
    return wait_until(reason, timeout, f"a reason with {words}")


def wait_ready(server):
    wait_until(lambda: server.readiness()["status"] == "ready", 30, "ready")


def test_with_what_each_listener_asks_for_runs_come_to_their_end(secure, make_server, make_engine):
    ways = {"SASL_PLAINTEXT": [sasl(PASSWORD)], "SSL": [authority(secure), certificate(secure)],
            "SASL_SSL": [authority(secure), sasl(PASSWORD)]}
    for service_way, engine_way in (("SASL_PLAINTEXT", "SASL_SSL"), ("SSL", "SASL_PLAINTEXT"), ("SASL_SSL", "SSL")):
        server = make_server(secure, service_way, **settings(secure, service_way, *ways[service_way])).start()
        engine = make_engine(secure, f"at-{engine_way}", **settings(secure, engine_way, *ways[engine_way])).start()
        detail = Client(server).run([step(inputs={"x": "1"})], timeout=30)
        assert detail["status"] == "COMPLETED" and detail["outputs"] is not None
        wait_ready(server)
        engine.stop()
        server.stop()
        for log in (server.log_path, engine.log_path):
            assert PASSWORD not in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_a_wrong_password_is_one_clear_line(secure, make_server, make_engine, protocol):
    options = settings(secure, protocol, authority(secure), sasl(WRONG))
    server = make_server(secure, **options)
    engine = make_engine(secure, **options).spawn()
    start(server)
    reason = wait_reason(server, "no Kafka broker answers", "Invalid username or password")
    assert WRONG not in reason and "\n" not in reason and "[thrd" not in reason
    api = Client(server)
    run_id = api.start(api.create_flow([step()]))  # it waits for better times
    assert api.status(run_id)["pendingCommand"]["command"] == "START"
    wait_until(lambda: "the bus is down" in server.log() and "Invalid username or password" in server.log(), 20, "a line in the log")
    wait_until(lambda: "Invalid username or password" in engine.log(), 20, "the engine's line")
    engine.stop()
    server.stop(timeout=10)
    assert WRONG not in server.log() and WRONG not in engine.log()


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_an_unknown_authority_is_one_clear_line(secure, make_server, tmp_path, protocol):
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=another authority", "-keyout", tmp_path / "other.key", "-out", other],
                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    server = make_server(secure, **settings(secure, protocol, f"ssl.ca.location={other}", certificate(secure), sasl(PASSWORD)))
    start(server)
    wait_reason(server, "no Kafka broker answers", "certificate verify failed")
    reason = wait_reason(server, "verify that ssl.ca.location is correctly configured")
    assert PASSWORD not in reason
    server.stop(timeout=10)
    assert PASSWORD not in server.log()


def test_the_wrong_protocol_is_one_clear_line(secure, make_server):
    server = make_server(secure, KAFKA_BROKER=settings(secure, "SSL")["KAFKA_BROKER"])
    start(server)
    wait_reason(server, "incorrect security.protocol configuration")
    server.stop(timeout=10)


def test_files_that_are_not_there_end_the_start(secure, make_server):
    options = settings(secure, "SASL_SSL", "ssl.ca.location=/nonexistent/ca.pem", sasl(PASSWORD))
    status, said = make_server(secure, **options).refuses_to_start()
    assert status not in (0, None) and "ssl.ca.location" in said and PASSWORD not in said


def test_what_is_not_allowed_is_said_by_topic_until_it_is(make_broker, make_server):
    broker = make_broker(listeners=["SASL_PLAINTEXT"], words=["--authorize", "--user", f"{OTHER}:{PASSWORD}"]).start()
    server = make_server(broker, **settings(broker, "SASL_PLAINTEXT", sasl(PASSWORD, OTHER)))
    start(server)
    wait_reason(server, f"topic {COMMANDS}: ", "Topic authorization failed")
    api = Client(server)
    flow_id = api.create_flow([step()])
    run_id = api.start(flow_id)

    broker.allow(OTHER, [("topic", "execution.*", "DESCRIBE")])
    reason = wait_reason(server, f"topic {COMMANDS}: is not there and cannot be made: ", "uthorization failed")
    assert "\n" not in reason
    wait_until(lambda: "the bus is down" in server.log() and f"topic {COMMANDS}: " in server.log(), 20, "a line in the log")

    for topic in (COMMANDS, STATUSES, LETTERS):  # by somebody else
        broker.make_topic(topic)
    wait_reason(server, f"topic {COMMANDS}: may not be written: ", "uthorization failed")
    before = server.processor_seconds()
    threading.Event().wait(5)  # what is tested: a refusal that lasts costs next to nothing
    assert server.processor_seconds() - before < 1
    wait_reason(server, f"topic {COMMANDS}: may not be written: ", "uthorization failed")
    assert broker.commands() == [] and api.status(run_id)["pendingCommand"]["command"] == "START"

    broker.allow(OTHER, [("topic", COMMANDS, "WRITE")])
    wait_until(lambda: [c["runId"] for c in broker.commands()] == [run_id], 20, "the command that waited")
    wait_reason(server, f"topic {STATUSES}: may not be read by group flowops-execution-service: ", "uthorization failed")

    broker.allow(OTHER, [("topic", STATUSES, "READ"), ("group", "flowops-*", "READ")])
    wait_ready(server)
    broker.produce(STATUSES, {"eventType": "FLOW_STATUS", "flowId": flow_id, "runId": run_id, "status": "COMPLETED",
                              "timestamp": "2026-01-31T09:00:00Z"}, key=run_id)
    assert api.wait_end(run_id, timeout=30)["status"] == "COMPLETED"

    broker.produce(STATUSES, b"nonsense", key=b"k")  # which may not be put aside
    wait_until(lambda: f"topic {LETTERS}: may not be written" in (server.readiness()["reason"] or ""), 20, "the letter given up")
    server.wait_caught_up()
    broker.allow(OTHER, [("topic", LETTERS, "WRITE")])
    broker.produce(STATUSES, b"more nonsense", key=b"k")
    wait_until(lambda: broker.read(LETTERS), 20, "a letter")
    wait_ready(server)
    assert "the bus is back" in server.log() and PASSWORD not in server.log()
    server.stop()


def test_permission_to_write_is_noticed_without_a_command(make_broker, make_server):
    broker = make_broker(listeners=["SASL_PLAINTEXT"], words=["--authorize", "--user", f"{OTHER}:{PASSWORD}"]).start()
    broker.allow(OTHER, [("topic", "execution.*", operation) for operation in ("READ", "DESCRIBE")] + [("group", "flowops-*", "READ")])
    for topic in (COMMANDS, STATUSES, LETTERS, UPDATES):
        broker.make_topic(topic)
    server = make_server(broker, **settings(broker, "SASL_PLAINTEXT", sasl(PASSWORD, OTHER)))
    start(server)
    wait_reason(server, f"topic {COMMANDS}: may not be written: ")
    broker.allow(OTHER, [("topic", "execution.*", "WRITE")])
    wait_ready(server)
    server.stop()


def test_what_may_not_be_written_does_not_hold_up_positions(make_broker, make_server):
    broker = make_broker(listeners=["SASL_PLAINTEXT"], words=["--authorize", "--user", f"{OTHER}:{PASSWORD}"]).start()
    for topic in (COMMANDS, STATUSES, LETTERS):
        broker.make_topic(topic)
    broker.allow(OTHER, [("topic", "execution.*", "DESCRIBE"), ("topic", STATUSES, "READ"), ("topic", LETTERS, "WRITE"),
                         ("group", "flowops-*", "READ")])
    server = make_server(broker, **settings(broker, "SASL_PLAINTEXT", sasl(PASSWORD, OTHER)))
    start(server)
    api = Client(server)
    api.start(api.create_flow([step()]))
    wait_until(lambda: f"topic {COMMANDS}: may not be written: " in (server.readiness()["reason"] or ""), 20, "the command refused")
    broker.produce(STATUSES, b"nonsense", key=b"k")
    wait_until(lambda: broker.read(LETTERS), 20, "a letter")
    server.wait_caught_up()
    wait_reason(server, f"topic {COMMANDS}: may not be written: ")
    server.stop()
