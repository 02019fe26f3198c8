"""FerretDB on SQLite: MongoDB's protocol with data that survive the process. Slow beyond a few thousand documents: only a
find by one text _id uses an index."""

import socket
import subprocess
import sys

SUMMARY = "FerretDB on SQLite; what was written survives a restart with the same --dir"
FERRETDB = "v1.24.2"
GO = "1.24"  # the least it builds with

MODULE = f"""module flowops/tools/ferretdb

go {GO}

require github.com/FerretDB/FerretDB {FERRETDB}
"""

MAIN = """package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: os.Args[1]},
		Handler:   "sqlite",
		SQLiteURL: "file:./data/",
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := server.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
"""

CONNECT_LIMIT_S = 2


def add_arguments(parser):
    pass


def prepare(home):
    source = home / "source"
    source.mkdir()
    (source / "go.mod").write_text(MODULE, encoding="utf-8")
    (source / "main.go").write_text(MAIN, encoding="utf-8")
    subprocess.run(["go", "build", "-mod=mod", "-o", str(home / "ferretdb"), "."], cwd=source, check=True, stdout=sys.stderr)


def command(home, directory, port, arguments):
    (directory / "data").mkdir(exist_ok=True)
    return [str(home / "ferretdb"), f"127.0.0.1:{port}"]


def is_ready(port):
    """It listens once its database is open."""
    try:
        with socket.create_connection(("127.0.0.1", port), CONNECT_LIMIT_S):
            return True
    except OSError:
        return False
