"""mongo-java-server: MongoDB's protocol in memory. Fast, and alone in some things (docs/mongodb.md): no "hello", no indexes
but _id's, no sessions, counts of failed inserts that are wrong."""

import socket
import subprocess
import sys

SUMMARY = "mongo-java-server, in memory"
SERVER = "1.47.0"
SLF4J = "2.0.16"

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>flowops.tools</groupId><artifactId>mongo-java</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>de.bwaldvogel</groupId><artifactId>mongo-java-server</artifactId><version>{SERVER}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>{SLF4J}</version></dependency>
  </dependencies>
</project>
"""

MAIN = """import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.ServerVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

public final class MongoJava {
    public static void main(String[] args) throws InterruptedException {
        MongoServer server = new MongoServer(new MemoryBackend().version(ServerVersion.MONGO_5_0));
        server.bind("127.0.0.1", Integer.parseInt(args[0]));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        Thread.currentThread().join();
    }
}
"""

# {"ping": 1, "$db": "admin"} as an OP_MSG
PING_BODY = b"\x10ping\x00\x01\x00\x00\x00\x02$db\x00\x06\x00\x00\x00admin\x00\x00"
PING = b"\x00\x00\x00\x00\x00" + (len(PING_BODY) + 4).to_bytes(4, "little") + PING_BODY
PING_LIMIT_S = 2


def add_arguments(parser):
    parser.add_argument("--bench", action="store_true", help="room for a benchmark's documents, and a JVM that optimises fully")


def prepare(home):
    (home / "pom.xml").write_text(POM, encoding="utf-8")
    (home / "MongoJava.java").write_text(MAIN, encoding="utf-8")
    subprocess.run(["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"], cwd=home, check=True, stdout=sys.stderr)
    subprocess.run(["javac", "-cp", "libs/*", "-d", "classes", "MongoJava.java"], cwd=home, check=True, stdout=sys.stderr)


def command(home, directory, port, arguments):
    options = ["-Xmx3g", "-XX:+UseParallelGC"] if arguments.bench else ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return ["java", *options, "-cp", f"{home}/classes:{home}/libs/*", "MongoJava", str(port)]


def is_ready(port):
    """Whether it answers a ping."""
    header = (16 + len(PING)).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(4) + (2013).to_bytes(4, "little")
    try:
        with socket.create_connection(("127.0.0.1", port), PING_LIMIT_S) as connection:
            connection.settimeout(PING_LIMIT_S)
            connection.sendall(header + PING)
            return len(connection.recv(16)) > 0
    except OSError:
        return False
