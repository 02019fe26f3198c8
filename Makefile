# A thin front for Meson and Ninja; `make help` lists what there is.
BUILD := build
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: flowops run test stack test-kafka test-mongo test-stack test-image check bench clean help
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
	@echo 'make stack    the environment of compose.yaml as ordinary processes: Kafka, MongoDB'\''s protocol, service, engine; Ctrl-C ends it'
	@echo 'make test     install what tests need, build, run every test that needs no outside server'
	@echo 'make test-kafka, make test-mongo   the tests that need a real Kafka, and real servers of the MongoDB protocol;'
	@echo '              MONGO_TEST_URI=mongodb://... names a mongod that the latter run on, too'
	@echo 'make test-stack, make test-image   a whole flow through `make stack`, and compose.yaml; the image, built with podman or docker'
	@echo 'make check    format, layers, banned calls, clang-tidy, cppcheck, both compilers, sanitizers'
	@echo 'make bench    install what benchmarks need, build, print each figure beside its limit'
	@echo 'make clean    remove the build directories; ./data stays'
