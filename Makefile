# A thin front for Meson and Ninja; `make help` lists what there is.
BUILD := build
prefix ?= /usr/local
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: flowops run install deb stack test test-kafka test-mongo test-stack test-image test-package check bench clean help
.NOTPARALLEL:

flowops: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet flowops

# Ninja itself notices a changed meson.build; tests=auto lets a machine without the test library build the program.
$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "Meson is missing; \`make run\` installs what is needed, or: tools/install-packages build" >&2; exit 1; }
	@meson setup -Dtests=auto $(BUILD)

run:
	@tools/install-packages build
	@$(MAKE) --no-print-directory flowops
	@exec env DATA_DIR="$${DATA_DIR:-./data}" $(BUILD)/flowops serve

# The program alone is built: tests and benchmarks are nobody's but ours. DESTDIR is Meson's to read, too.
install: $(BUILD)/build.ninja
	@meson introspect --buildoptions $(BUILD) | grep -q '"prefix", "value": "$(prefix)"' || meson configure -Dprefix=$(prefix) $(BUILD)
	@ninja -C $(BUILD) --quiet flowops
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild --quiet

deb:
	@tools/install-packages build package
	@tools/build-deb

test-package:
	@tools/install-packages build package test
	@tools/build-deb
	@$(MAKE) --no-print-directory flowops
	@tools/run-tests $(BUILD) --only package

test:
	@tools/install-packages build test
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@tools/run-tests $(BUILD)

test-kafka:
	@tools/install-packages build test kafka
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@tools/run-tests $(BUILD) --with kafka

test-mongo:
	@tools/install-packages build test mongo kafka
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@tools/run-tests $(BUILD) --with mongo-java --with ferretdb $(if $(MONGO_TEST_URI),--with mongod)

stack:
	@tools/install-packages build kafka mongo
	@$(MAKE) --no-print-directory flowops
	@exec tools/stack --binary $(BUILD)/flowops

test-stack:
	@tools/install-packages build test kafka mongo stack
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@tools/run-tests $(BUILD) --only stack

test-image:
	@tools/install-packages build test kafka mongo image
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@tools/run-tests $(BUILD) --only image

check:
	@tools/check

bench:
	@tools/install-packages build bench kafka mongo
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet flowops bench/bench_preload bench/bench_bare_sqlite bench/bench_streams bench/bench_kafka_load \
		bench/bench_bare_mongo bench/bench_cron bench/bench_preload_schedules
	@PATH="$$PATH:/usr/sbin" bench/run $(BUILD)

clean:
	@rm -rf $(BUILD) $(BUILD)-*

help:
	@echo 'make          build $(BUILD)/flowops'
	@echo 'make run      install what is missing, build, serve on http://127.0.0.1:8080 with data in ./data'
	@echo 'make install  install it, its units, man pages and completion; DESTDIR=, prefix=/usr/local'
	@echo 'make deb      install what that needs, build and check the Debian package: build-deb/*.deb'
	@echo 'make test-package   install, start, upgrade and remove the package in a root of its own (as root)'
	@echo 'make stack    the environment of compose.yaml as ordinary processes: Kafka, MongoDB'\''s protocol, service, engine; Ctrl-C ends it'
	@echo 'make test     install what tests need, build, run every test that needs no outside server'
	@echo 'make test-kafka, make test-mongo   the tests that need a real Kafka, and real servers of the MongoDB protocol;'
	@echo '              MONGO_TEST_URI=mongodb://... names a mongod that the latter run on, too'
	@echo 'make test-stack, make test-image   a whole flow through `make stack`, and compose.yaml; the image, built with podman or docker'
	@echo 'make check    format, layers, banned calls, clang-tidy, cppcheck, both compilers, sanitizers'
	@echo 'make bench    install what benchmarks need, build, print each figure beside its limit'
	@echo 'make clean    remove the build directories; ./data stays'
