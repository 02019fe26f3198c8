"""compose.yaml: by the Compose specification's schema, by a compose implementation, and by the rules of this tree."""

import json
import re
import subprocess

import jsonschema
import pytest
import yaml

from harness import ROOT

FILE = ROOT / "compose.yaml"
EXAMPLE = ROOT / ".env.example"  # sets nothing; a .env of this tree is not looked at
TEXT = FILE.read_text(encoding="utf-8")
LONG_RUNNING = {"mongodb", "kafka", "kafka-ui", "service", "engine"}
EXAMPLE_LINE = re.compile(r"^#?(\w+)=", re.MULTILINE)
VARIABLE = re.compile(r"\$\{(\w+)(:?[-?])?")


def compose_config(**variables):
    """What the implementation makes of the file in an environment of these variables."""
    done = subprocess.run(["docker-compose", "-f", FILE, "--env-file", EXAMPLE, "config"],
                          env={"PATH": "/usr/bin:/bin", **variables}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr
    return yaml.safe_load(done.stdout)


@pytest.fixture(scope="module", name="document")
def fixture_document():
    return yaml.safe_load(TEXT)


@pytest.fixture(scope="module", name="config")
def fixture_config():
    return compose_config()


def test_it_fits_the_schema_of_the_specification(document):
    """As the Debian package of the implementation brings it along."""
    listed = subprocess.run(["dpkg-query", "-L", "docker-compose"], capture_output=True, text=True, check=True).stdout
    path = next(line for line in listed.splitlines() if line.endswith("/compose_spec.json"))
    with open(path, encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft7Validator(schema).validate(document)


def test_it_has_no_obsolete_version(document):
    assert "version" not in document


def test_an_implementation_takes_it_without_any_variable(config):
    assert set(config["services"]) == LONG_RUNNING


def test_ports_are_published_on_loopback_alone(config):
    ports = [port for service in config["services"].values() for port in service.get("ports", [])]
    assert {tuple(port.split("/")[0].split(":")[:2]) for port in ports} == {
        ("127.0.0.1", port) for port in ("27017", "9092", "8085", "8080")}


def test_variables_move_the_ports_and_what_kafka_tells_its_clients():
    services = compose_config(MONGO_PORT="1001", KAFKA_PORT="1002", EXECUTION_SERVICE_PORT="1003")["services"]
    assert services["mongodb"]["ports"][0].startswith("127.0.0.1:1001:27017")
    assert services["kafka"]["ports"][0].startswith("127.0.0.1:1002:29092")
    assert "HOST://localhost:1002" in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert services["service"]["ports"][0].startswith("127.0.0.1:1003:8080")


def test_images_are_pinned_or_built_here(config):
    for name, service in config["services"].items():
        tag = service["image"].rpartition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), f"{name}: {service['image']}"
        assert ("build" in service) == (name in ("service", "engine"))
    names = [service["image"] for service in config["services"].values()]
    assert len(set(names)) == len(names)  # two builds of one name at once get in each other's way


def test_services_have_health_checks_and_start_again(config):
    for name, service in config["services"].items():
        assert service["restart"] == "unless-stopped", name
        test = service["healthcheck"]["test"]
        assert test[0] == ("NONE" if name == "engine" else "CMD"), name  # an engine has no port to ask at


def test_services_start_in_order_of_health(config):
    needs = {name: service.get("depends_on", {}) for name, service in config["services"].items()}
    assert {condition["condition"] for need in needs.values() for condition in need.values()} == {"service_healthy"}
    assert {name: set(need) for name, need in needs.items()} == {
        "mongodb": set(), "kafka": set(), "kafka-ui": {"kafka"}, "service": {"mongodb", "kafka"}, "engine": {"service"}}


def test_what_is_ours_has_no_rights(config):
    for name in ("service", "engine"):
        service = config["services"][name]
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_only_the_service_is_open_to_whoever_reaches_it(config):
    environments = {name: service.get("environment", {}) for name, service in config["services"].items()}
    assert [name for name, found in environments.items() if "ALLOW_UNAUTHENTICATED" in found] == ["service"]
    assert environments["service"]["ALLOW_UNAUTHENTICATED"] == "container"
    assert environments["service"]["AUTH_MODE"] == "none"
    assert environments["service"]["LISTEN_ADDR"] == "0.0.0.0"


def test_data_are_on_named_volumes(document):
    used = {volume.partition(":")[0] for service in document["services"].values() for volume in service.get("volumes", [])}
    assert used == set(document["volumes"])


def test_every_variable_has_a_default_and_stands_in_the_example():
    example = set(EXAMPLE_LINE.findall(EXAMPLE.read_text(encoding="utf-8")))
    found = VARIABLE.findall(TEXT)
    assert found
    for name, default in found:
        assert default == ":-", f"{name} has no default"
        assert name in example, f"{name} is not in .env.example"
    # What a service or an engine could be told and the compose file does not pass on: it fixes these itself.
    fixed = {"LISTEN_ADDR", "DATA_DIR", "MONGO_URI", "KAFKA_BROKER", "KAFKA_OPTIONS", "ALLOW_UNAUTHENTICATED", "ENGINE"}
    assert example - {name for name, _ in found} == fixed
