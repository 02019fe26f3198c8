"""A broker that is not there, dies, forgets, stands still; a service that dies. Nothing acknowledged is lost."""

import json
import signal
import threading
import time

from harness import Client, free_port, new_id, step, wait_until
from kafka_harness import COMMANDS, STATUSES, Broker


def readiness(server):
    return server.readiness()["status"]


class Load:
    """Starts runs and asks for pauses and resumes until told to end; remembers what was acknowledged, in order."""

    def __init__(self, server, flow_id, user, n_threads=4, pause_s=0.01):
        self.acknowledged, self.errors, self.is_over, self.pause_s = {}, [], threading.Event(), pause_s
        self.threads = [threading.Thread(target=self._work, args=(server, flow_id, user)) for _ in range(n_threads)]
        for thread in self.threads:
            thread.start()

    def _work(self, server, flow_id, user):
        api = Client(server, user)
        try:
            while not self.is_over.wait(self.pause_s):
                response = api.post(f"/flows/{flow_id}/start", timeout=20)
                assert response.status_code in (202, 503), response.text
                if response.status_code != 202:
                    continue
                run_id = response.json()["data"]
                self.acknowledged[run_id] = ["EXECUTION_START"]
                for command in ("pause", "resume", "pause", "stop"):
                    response = api.command(run_id, command)
                    assert response.status_code in (202, 503), response.text
                    if response.status_code == 202:
                        self.acknowledged[run_id].append(f"EXECUTION_{command.upper()}")
        except BaseException as error:
            self.errors.append(error)

    def end(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors, self.errors[0]
        assert self.acknowledged


def assert_all_are_there(broker, acknowledged):
    """Every acknowledged command is on the topic; the first copies of a run's are in order; a repeat has the same id."""
    lines = {}
    for command in broker.commands():
        lines.setdefault(command["runId"], []).append(command)
    for run_id, expected in acknowledged.items():
        first_ids, kinds = [], []
        for command in lines.get(run_id, []):
            if command["commandId"] not in first_ids:
                first_ids.append(command["commandId"])
                kinds.append(command["eventType"])
        assert kinds == expected, (run_id, lines.get(run_id))


def test_a_broker_that_is_down_at_the_start(make_broker, make_server):
    broker = make_broker()
    server = make_server(broker)
    server.start()
    api = Client(server)
    wait_until(lambda: readiness(server) == "degraded", 15, "degraded")
    run_id = api.start(api.create_flow([step()]))
    api.command(run_id, "stop")
    assert api.status(run_id)["pendingCommand"]["command"] == "STOP"
    broker.start()
    wait_until(lambda: readiness(server) == "ready", 30, "ready")
    wait_until(lambda: len(broker.commands(run_id)) >= 2, 30, "both commands")
    assert_all_are_there(broker, {run_id: ["EXECUTION_START", "EXECUTION_STOP"]})
    server.stop()


def test_a_broker_that_is_killed_under_load_for_half_a_minute(make_broker, make_server):
    broker = make_broker().start()
    server = make_server(broker).start()
    api = Client(server)
    load = Load(server, api.create_flow([step()]), api.user)
    wait_until(lambda: len(load.acknowledged) > 100, 30, "some load")
    broker.kill()
    wait_until(lambda: readiness(server) == "degraded", 30, "degraded")
    before = len(load.acknowledged)
    threading.Event().wait(30)  # what is tested: an outage of this length
    assert len(load.acknowledged) > before  # commands are accepted meanwhile
    broker.start()
    wait_until(lambda: readiness(server) == "ready", 40, "ready")
    load.end()
    wait_until(lambda: server.metric("relay_idle") == 1, 40, "all commands on the topic")
    assert_all_are_there(broker, load.acknowledged)
    server.stop()


def test_a_broker_that_stands_still_for_a_while(make_broker, make_server, make_engine):
    broker = make_broker().start()
    server = make_server(broker).start()
    engine = make_engine(broker).start()
    api = Client(server)
    flow_id = api.create_flow([step(inputs={"x": "1"})])
    runs = [api.start(flow_id) for _ in range(20)]
    broker.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    while time.monotonic() - stopped < 20:  # what is tested: a pause of this length
        runs.append(api.start(flow_id))
        threading.Event().wait(0.2)
    broker.signal(signal.SIGCONT)
    for run_id in runs:
        assert api.wait_end(run_id, timeout=90)["status"] == "COMPLETED"
    engine.stop()
    server.stop()


def test_a_broker_that_comes_back_with_an_empty_disk(make_broker, make_server, make_engine):
    broker = make_broker().start()
    server = make_server(broker, COMMAND_RESEND_SECONDS="5").start()
    engine = make_engine(broker).start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    for _ in range(30):
        assert api.wait_end(api.start(flow_id))["status"] == "COMPLETED"
    broker.kill()
    broker.wipe()
    run_id = api.start(flow_id)
    broker.start()
    assert api.wait_end(run_id, timeout=120)["status"] == "COMPLETED"
    for _ in range(3):
        assert api.wait_end(api.start(flow_id), timeout=60)["status"] == "COMPLETED"
    engine.stop()
    server.stop()


def test_a_status_topic_made_anew_loses_nothing(make_broker, make_server):
    broker = make_broker().start()
    server = make_server(broker).start()
    api = Client(server)
    step_id = new_id()
    flow_id = api.create_flow([step(step_id=step_id)])

    def say(run_id, *statuses):
        broker.produce_all(STATUSES, [(run_id, {"eventType": "FLOW_STATUS", "flowId": flow_id, "runId": run_id, "status": status,
                                                "timestamp": time.time() + i}) for i, status in enumerate(statuses)])
    first = api.start(flow_id)
    say(first, *["RUNNING", "PAUSED"] * 20)
    api.wait_status(first, "PAUSED")
    server.wait_caught_up()
    broker.delete_topic(STATUSES)
    second = api.start(flow_id)

    def is_there():
        try:
            say(second, "RUNNING", "COMPLETED")
            return True
        except Exception:
            return False
    wait_until(is_there, 40, "the topic made anew")
    assert api.wait_status(second, "COMPLETED", timeout=60)
    server.stop()


def test_a_command_topic_made_anew_gets_the_commands_that_follow(make_broker, make_server):
    broker = make_broker().start()
    server = make_server(broker, COMMAND_RESEND_SECONDS="5").start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    lost = [api.start(flow_id) for _ in range(20)]
    wait_until(lambda: server.metric("relay_idle") == 1, what="the commands on the topic")
    broker.delete_topic(COMMANDS)
    runs = [api.start(flow_id) for _ in range(20)]
    wait_until(lambda: {c["runId"] for c in broker.commands()} >= set(runs + lost), 90, "all commands, the unanswered ones again")
    server.stop()


def test_a_command_that_the_topic_refuses_holds_up_nobody(make_broker, make_server):
    broker = make_broker().start()
    broker.make_topic(COMMANDS, **{"max.message.bytes": 20_000})
    server = make_server(broker, COMMAND_RESEND_SECONDS="5").start()
    api = Client(server)
    large = api.start(api.create_flow([step(inputs={"x": "y" * 40_000})]))
    small = [api.start(api.create_flow([step()])) for _ in range(5)]
    wait_until(lambda: {c["runId"] for c in broker.commands()} == set(small), what="the small ones")
    assert api.status(large)["pendingCommand"]["command"] == "START"
    assert "refused" in server.log() and large in server.log()
    broker.set_topic_config(COMMANDS, max_message_bytes=1_048_588)
    wait_until(lambda: broker.commands(large), 40, "the large one, sent again")
    server.stop()


def test_kill_9_of_the_service_loses_no_command(make_broker, make_server):
    broker = make_broker().start()
    server = make_server(broker).start()
    api = Client(server)
    flow_id = api.create_flow([step()])
    acknowledged = {}
    for _ in range(5):
        load = Load(server, flow_id, api.user, pause_s=0)
        wait_until(lambda: len(load.acknowledged) > 50, 30, "some load")
        load.is_over.set()
        server.kill()
        for thread in load.threads:
            thread.join()
        acknowledged.update(load.acknowledged)
        server.start()
    wait_until(lambda: server.metric("relay_idle") == 1, 40, "all commands on the topic")
    lines = {}
    for command in broker.commands():
        lines.setdefault(command["runId"], []).append(command)
    for run_id, expected in acknowledged.items():
        kinds = list(dict.fromkeys((c["commandId"], c["eventType"]) for c in lines[run_id]))
        assert [kind for _, kind in kinds][:len(expected)] == expected, (run_id, lines[run_id])
    server.stop()


def test_sigterm_during_a_rebalance_ends_in_time(broker, make_server):
    one, frozen = (make_server(broker, name).start() for name in ("one", "frozen"))
    wait_until(lambda: broker.group_state() == "Stable", 20, "a group of two")
    frozen.process.send_signal(signal.SIGSTOP)  # the rebalance that a third one sets off waits for it
    third = make_server(broker, "third").spawn()
    wait_until(lambda: broker.group_state() == "PreparingRebalance", 20, "a rebalance")
    began = time.monotonic()
    one.stop(timeout=10)
    assert time.monotonic() - began < 10
    frozen.process.send_signal(signal.SIGCONT)
    for server in (third, frozen):
        server.stop(timeout=10)


def test_secrets_of_the_options_are_never_said(make_server):
    broker = Broker("/nonexistent")
    broker.port = free_port()
    server = make_server(broker, KAFKA_OPTIONS="security.protocol=SASL_PLAINTEXT,sasl.mechanism=PLAIN,sasl.username=u,sasl.password=Secr3t")
    server.start()
    wait_until(lambda: readiness(server) == "degraded", 15, "degraded")
    server.stop()
    assert "Secr3t" not in server.log_path.read_text(encoding="utf-8")


def test_options_that_are_none_are_one_clear_line(make_server, broker):
    status, said = make_server(broker, KAFKA_OPTIONS="no.such.option=Secr3t").refuses_to_start()
    assert status not in (0, None)
    assert "no.such.option" in said and "KAFKA_OPTIONS" in said and "Secr3t" not in said
    status, said = make_server(broker, KAFKA_OPTIONS="enable.idempotence=false").refuses_to_start()
    assert status not in (0, None) and "enable.idempotence" in said
