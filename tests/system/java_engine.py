"""An engine in the dialect of FlowOps' own Java engine, for tests of the service on Kafka.

It speaks only what the contract fixes: statuses are keyed flowId:runId, timestamps are numbers of epoch seconds with a
fraction of nine digits (as Jackson writes an Instant), there are members that nobody knows and a __TypeId__ header, and it
knows neither commandId nor seq nor generation, and announces nothing. The steps of a run go one after the other in definition
order, a DECISION's branches all of them.
"""

import json
import threading
import time

from confluent_kafka import Consumer, KafkaError, Producer

COMMANDS = "execution.commands"
STATUS = "execution.status"
TYPES = "com.flowops.execution.event."


def flatten(steps):
    """A step, then its children, then the steps of each of its branches."""
    for step in steps or []:
        yield step
        yield from flatten(step.get("children"))
        for branch in step.get("branches") or []:
            yield from flatten(branch.get("steps"))


class Run:
    def __init__(self, start):
        self.flow_id = start["flowId"]
        self.run_id = start["runId"]
        self.todo = list(flatten(start.get("steps")))
        self.running_since = None  # monotonic, of the first step of todo; None: it has not begun
        self.is_paused = False
        self.is_ended = False


class JavaEngine:
    """start(brokers) returns once the engine has partitions; stop() raises what went wrong meanwhile.

    A step takes step_seconds. One with an input `fail` fails with its text, and the run with it.
    """

    def __init__(self, group="java-engine", step_seconds=0.0):
        self.group = group
        self.step_seconds = step_seconds
        self.runs = {}
        self.commands = []  # as they came, for the tests to look at
        self.failure = None
        self.assigned = threading.Event()
        self.stopping = threading.Event()
        self.thread = None

    def start(self, brokers, timeout=30.0):
        self.consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": self.group,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
                "topic.metadata.refresh.interval.ms": 1000,  # topics may be made after the engine came
                "allow.auto.create.topics": False,
            }
        )
        self.producer = Producer({"bootstrap.servers": brokers, "linger.ms": 0})
        self.consumer.subscribe([COMMANDS], on_assign=lambda *_: self.assigned.set())
        self.thread = threading.Thread(target=self._main, name="java-engine")
        self.thread.start()
        if not self.assigned.wait(timeout):
            self.stop()
            raise AssertionError("the Java engine was given no partitions")
        return self

    def stop(self):
        self.stopping.set()
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.failure is not None:
            raise self.failure

    def _main(self):
        try:
            while not self.stopping.is_set():
                message = self.consumer.poll(0.005 if self._has_work() else 0.1)
                if message is not None:
                    self._take(message)
                for run in list(self.runs.values()):
                    self._advance(run)
                self.producer.poll(0)
            if self.producer.flush(5) > 0:
                raise AssertionError("statuses of the Java engine did not arrive")
        except Exception as failure:  # for stop(), on the test's thread
            self.failure = failure
        finally:
            self.consumer.close()

    # ---- commands ----

    def _has_work(self):
        return any(not run.is_ended and not run.is_paused for run in self.runs.values())

    def _take(self, message):
        if message.error() is not None:
            # A topic that is not there yet, or a broker that is away, comes by itself.
            if message.error().code() not in (
                KafkaError.UNKNOWN_TOPIC_OR_PART,
                KafkaError._UNKNOWN_TOPIC,
                KafkaError._ALL_BROKERS_DOWN,
                KafkaError._TRANSPORT,
            ):
                raise AssertionError(message.error().str())
            return
        command = json.loads(message.value())
        self.commands.append(command)
        kind = command["eventType"]
        run = self.runs.get(command["runId"])
        if kind == "EXECUTION_START":
            if run is None:  # a repeat changes nothing
                run = self.runs[command["runId"]] = Run(command)
                self._say_flow(run, "RUNNING")
        elif run is None or run.is_ended:
            return
        elif kind == "EXECUTION_PAUSE":
            run.is_paused = True
            self._say_flow(run, "PAUSED")
        elif kind == "EXECUTION_RESUME":
            run.is_paused = False
            self._say_flow(run, "RUNNING")
        elif kind == "EXECUTION_STOP":
            self._end(run, "STOPPED")

    # ---- steps ----

    def _advance(self, run):
        """Begins or ends the run's next step, if it is time to."""
        if run.is_ended or run.is_paused:
            return
        if not run.todo:
            self._end(run, "COMPLETED")
        elif run.running_since is None:
            run.running_since = time.monotonic()
            self._say_step(run, run.todo[0], "RUNNING")
        elif time.monotonic() - run.running_since >= self.step_seconds:
            run.running_since = None
            step = run.todo.pop(0)
            error = (step.get("inputs") or {}).get("fail")
            if error is None:
                self._say_step(run, step, "COMPLETED")
            else:
                self._say_step(run, step, "FAILED", error)
                self._end(run, "FAILED", error)

    def _end(self, run, status, error=None):
        for step in run.todo:
            self._say_step(run, step, "CANCELLED")
        run.todo.clear()
        run.is_ended = True
        self._say_flow(run, status, error)

    # ---- statuses ----

    def _say_flow(self, run, status, error=None):
        self._say(run, "FlowStatusEvent", {"eventType": "FLOW_STATUS", "status": status, "error": error})

    def _say_step(self, run, step, status, error=None):
        self._say(
            run,
            "StepStatusEvent",
            {"eventType": "STEP_STATUS", "stepId": step["stepId"], "status": status, "error": error},
        )

    def _say(self, run, type_name, members):
        event = {"flowId": run.flow_id, "runId": run.run_id, **members}
        event.update({"engineHost": "java-engine", "attributes": {"thread": 1, "tags": [None, "x"]}})
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        value = f'{json.dumps(event)[:-1]}, "timestamp": {seconds}.{nanoseconds:09d}}}'
        self.producer.produce(
            STATUS,
            value=value.encode(),
            key=f"{run.flow_id}:{run.run_id}".encode(),
            headers=[("__TypeId__", (TYPES + type_name).encode())],
        )
