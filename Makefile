# A thin front for Meson and Ninja; `make help` lists what there is.
BUILD := build
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: flowops run test test-kafka test-mongo check bench clean help
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
	@echo 'make test     install what tests need, build, run every test that needs no outside server'
	@echo 'make test-kafka, make test-mongo   the tests that need a real Kafka, and real servers of the MongoDB protocol;'
	@echo '              MONGO_TEST_URI=mongodb://... names a mongod that the latter run on, too'
	@echo 'make check    format, layers, banned calls, clang-tidy, cppcheck, both compilers, sanitizers'
	@echo 'make bench    install what benchmarks need, build, print each figure beside its limit'
	@echo 'make clean    remove the build directories; ./data stays'
