"""Apache Kafka, one node that is broker and controller (KRaft), topics made on demand or by clients.

The port is unencrypted and asks nobody who they are. --listen adds others: SASL_PLAINTEXT and SASL_SSL (mechanism PLAIN, --user
says who may come in), SSL and SASL_SSL with a certificate for localhost by an authority made for this one broker; SSL asks its
clients for a certificate, too. What clients need is in DIR/tls: ca.pem, client.pem (key and certificate).
"""

import shutil
import socket
import subprocess
import sys
import time

SUMMARY = "Apache Kafka, one broker"
KAFKA = "4.4.0"
SLF4J = "1.7.36"

# The jars alone: the distribution archive is not among Maven's packages.
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>flowops.tools</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>{SLF4J}</version></dependency>
  </dependencies>
</project>
"""

PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
{more}
"""

SASL = """listener.name.{name}.sasl.enabled.mechanisms=PLAIN
listener.name.{name}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};"""

TLS = """ssl.keystore.type=PEM
ssl.keystore.location={tls}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={tls}/ca.pem
listener.name.ssl.ssl.client.auth=required"""

# Who comes by the open port may do everything; everybody else what a list allows them.
AUTHORIZER = """authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS"""

CLUSTER_ID = "Zmxvd29wcy10ZXN0LTAwMQ"  # any 16 bytes in base64
COLD_START_S = 60
LOG_LEVEL = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


def add_arguments(parser):
    parser.add_argument("--bench", action="store_true", help="let the JVM optimise fully: slower to start, faster to serve")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one more server property")
    parser.add_argument("--listen", action="append", default=[], metavar="PROTOCOL=PORT", type=listener,
                        help="one more listener: SASL_PLAINTEXT, SSL or SASL_SSL")
    parser.add_argument("--user", action="append", default=[], metavar="NAME:PASSWORD", type=lambda text: text.split(":", 1),
                        help="who may come in by SASL")
    parser.add_argument("--authorize", action="store_true",
                        help="users may do only what access control lists allow; clients of the open port write these")


def listener(text):
    protocol, port = text.split("=")
    if protocol not in ("SASL_PLAINTEXT", "SSL", "SASL_SSL"):
        raise ValueError(protocol)
    return protocol, int(port)


def java(home):
    """The words every call begins with; the class path must be the same text for the class archive to fit."""
    jars = ":".join(str(jar) for jar in sorted((home / "libs").glob("*.jar")))
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", LOG_LEVEL, "-cp", jars]


def prepare(home):
    (home / "pom.xml").write_text(POM, encoding="utf-8")
    subprocess.run(
        ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"],
        cwd=home, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True,
    )
    archive_classes(home)


def archive_classes(home):
    """One run, of which two things are kept: the formatted storage it began with, and the classes it loaded. With both, a
    new broker is there within a second or so instead of three."""
    directory = home / "first-run"
    directory.mkdir()
    port = free_port()
    write_properties(directory, port, [], [])
    subprocess.run(
        java(home) + ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", "server.properties"],
        cwd=directory, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True,
    )
    shutil.copytree(directory / "data", home / "formatted")
    with open(home / "first-run.log", "wb") as log:
        broker = subprocess.Popen(
            java(home) + [f"-XX:ArchiveClassesAtExit={home / 'kafka.jsa'}", "kafka.Kafka", "server.properties"],
            cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )
        try:
            deadline = time.monotonic() + COLD_START_S
            while not is_ready(port):
                if broker.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Kafka did not start; see {home / 'first-run.log'}")
        finally:
            broker.terminate()
            broker.wait()
    shutil.rmtree(directory)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_properties(directory, port, listeners, more):
    controller = port
    while controller == port:
        controller = free_port()
    text = PROPERTIES.format(
        port=port, controller=controller, data=directory / "data", more="\n".join(more),
        listeners="".join(f",{protocol}://127.0.0.1:{its_port}" for protocol, its_port in listeners),
        advertised="".join(f",{protocol}://localhost:{its_port}" for protocol, its_port in listeners),
    )
    (directory / "server.properties").write_text(text, encoding="utf-8")


def openssl(tls, *words):
    subprocess.run(["openssl", *words], cwd=tls, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def make_certificates(tls):
    """An authority, and what it gave to the broker and to a client."""
    tls.mkdir()
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(tls, *new, "-x509", "-days", "2", "-subj", "/CN=an authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name, names in (("broker", "DNS:localhost,IP:127.0.0.1"), ("client", "DNS:client")):
        (tls / "names").write_text(f"subjectAltName={names}\n", encoding="ascii")
        openssl(tls, *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(tls, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", "names", "-out", f"{name}.crt")
        both = [(tls / f"{name}.{end}").read_text(encoding="ascii") for end in ("key", "crt")]
        (tls / f"{name}.pem").write_text("".join(both), encoding="ascii")


def security(directory, arguments):
    """The properties that listeners and authorisation ask for."""
    more = []
    users = " ".join(f'user_{name}="{password}"' for name, password in arguments.user)
    for protocol, _ in arguments.listen:
        if protocol.startswith("SASL"):
            more.append(SASL.format(name=protocol.lower(), users=users))
    if any(protocol.endswith("SSL") for protocol, _ in arguments.listen):
        tls = directory / "tls"
        if not tls.exists():
            make_certificates(tls)
        more.append(TLS.format(tls=tls))
    if arguments.authorize:
        more.append(AUTHORIZER)
    return more


def command(home, directory, port, arguments):
    write_properties(directory, port, arguments.listen, security(directory, arguments) + arguments.set)
    if not (directory / "data" / "meta.properties").exists():
        shutil.copytree(home / "formatted", directory / "data")
    options = [f"-XX:SharedArchiveFile={home / 'kafka.jsa'}"]
    if not arguments.bench:
        options.append("-XX:TieredStopAtLevel=1")
    return java(home) + options + ["kafka.Kafka", "server.properties"]


def is_ready(port):
    """kcat prints the cluster's metadata; it waits a while for a broker, so this needs no pause around it."""
    looked = subprocess.run(
        ["kcat", "-b", f"127.0.0.1:{port}", "-L", "-m", "1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )
    return looked.returncode == 0
