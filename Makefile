# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
#   make            mplexc and mplex-run, in build/
#   make demo       builds, and shows the whole on real traffic between two network namespaces
#   make check      all tests; what needs root counts as skipped without it
#   make check-clang a sample of the tests with the newest clang there is; CLANG=clang-22 works with all
#   make check-service the systemd unit under a systemd that runs, in a machine of its own
#   make check-operate 120 replacements under load, and mplex-run killed at every instant
#   make check-cycles attached and taken off 10,000 times, nothing is left; CYCLES=
#   make check-long the differential test for hours: FILES=10000 FRAMES=1100 SEED= JOBS=
#   make bench      measures what mplex costs, and what others do: docs/performance.md; BENCH_ROUNDS=9
#   make verifier   instruction counts by shape of rule file, into docs/verifier.md
#   make mutants    do the tests notice small mistakes? MUTANTS=200 of them, SECONDS= SEED= JOBS= ONLY=FILE
#   make check-kernels   the tests that a kernel has a say in, in kernels of many ages under qemu
#   make lint       warnings of gcc and clang, format, templates on their own
#   make sanitize   the unit and command line tests under AddressSanitizer and UBSan
#   make fuzz       libFuzzer without end on rule files, manifests and objects
#   make attack     floods at full speed against a thousand ordinary clients
#   make install    PREFIX=/usr/local DESTDIR=
#   make deps       the Debian or Ubuntu packages that all of this needs
#
# A target in a build directory of its own: make BUILD=build/clang CC=clang

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
PYTHON  ?= /usr/bin/python3
# What makes BPF of C, here and in all tests; mplexc itself reads it, too.
CLANG   ?= clang
export CLANG

CFLAGS   ?= -O2 -g
SANITIZE ?=
WARNINGS := -Wall -Wextra -Werror
override CPPFLAGS += -D_GNU_SOURCE -iquote compiler -iquote runtime -iquote $(BUILD) -MMD -MP
override CFLAGS   += -std=gnu11 $(WARNINGS) $(SANITIZE)

PKGS_COMPILER := yaml-0.1 jansson libcrypto
PKGS_RUNTIME  := libbpf libelf jansson
LIBS_COMPILER  = $(shell pkg-config --libs $(PKGS_COMPILER))
LIBS_RUNTIME   = $(shell pkg-config --libs $(PKGS_RUNTIME)) -ldl

TEMPLATES := $(sort $(wildcard templates/*.bpf.c)) templates/written.bpf.h
COMPILER  := $(filter-out compiler/main.c compiler/embed_parts.c,$(sort $(wildcard compiler/*.c)))
RUNTIME   := $(filter-out runtime/main.c,$(sort $(wildcard runtime/*.c)))
UNITS     := $(sort $(wildcard tests/unit/test_*.c))
DIFFERENTIAL := $(sort $(wildcard tests/differential/*.c))
FUZZERS   := $(sort $(wildcard tests/fuzz/fuzz_*.c))

COMPILER_OBJECTS := $(COMPILER:%.c=$(BUILD)/%.o) $(BUILD)/parts.o
RUNTIME_OBJECTS  := $(RUNTIME:%.c=$(BUILD)/%.o)
UNIT_TESTS       := $(UNITS:tests/unit/%.c=$(BUILD)/tests/%)

.PHONY: all tests demo check check-kernels check-operate check-cycles check-service check-long check-clang check-with-clang verifier mutants bench sanitized sanitize lint format install clean deps
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/mplexc $(BUILD)/mplex-run

# Before anything is built by a target that sets up the machine by itself.
ifneq ($(filter demo check check-kernels bench,$(MAKECMDGOALS)),)
$(shell $(MAKE) -s deps $(if $(filter bench,$(MAKECMDGOALS)),deps-bench) >&2)
endif

# ---- the templates, embedded ----------------------------------------------------------------------

$(BUILD)/embed_parts: compiler/embed_parts.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu11 $(WARNINGS) $< -o $@

$(BUILD)/parts.c: $(BUILD)/embed_parts $(TEMPLATES)
	$(BUILD)/embed_parts $(BUILD)/parts_list.h $@ $(TEMPLATES)

$(BUILD)/parts_list.h: $(BUILD)/parts.c ;

$(BUILD)/parts.o: $(BUILD)/parts.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

# ---- the two programs -----------------------------------------------------------------------------

$(BUILD)/%.o: %.c $(BUILD)/parts_list.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

$(BUILD)/libmplexc.a: $(COMPILER_OBJECTS)
	$(AR) rcs $@ $^

$(BUILD)/libmplexrun.a: $(RUNTIME_OBJECTS)
	$(AR) rcs $@ $^

$(BUILD)/mplexc: $(BUILD)/compiler/main.o $(BUILD)/libmplexc.a
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LIBS_COMPILER) -o $@

$(BUILD)/mplex-run: $(BUILD)/runtime/main.o $(BUILD)/libmplexrun.a
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LIBS_RUNTIME) -o $@

# ---- tests ----------------------------------------------------------------------------------------

$(BUILD)/tests/test_run_%: tests/unit/test_run_%.c $(BUILD)/libmplexrun.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $< $(BUILD)/libmplexrun.a $(LIBS_RUNTIME) -lcmocka -o $@

$(BUILD)/tests/test_%: tests/unit/test_%.c $(BUILD)/libmplexc.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $< $(BUILD)/libmplexc.a $(LIBS_COMPILER) -lbpf -lelf -ldl -lcmocka -o $@

$(BUILD)/tests/differential/differential: $(DIFFERENTIAL:%.c=$(BUILD)/%.o) $(BUILD)/libmplexc.a $(BUILD)/libmplexrun.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LIBS_COMPILER) $(LIBS_RUNTIME) -o $@

BENCH := $(addprefix $(BUILD)/bench/,bench_run tcp_load drive.bpf.o drive_live.bpf.o)

$(BUILD)/bench/%.bpf.o: tests/bench/%.bpf.c tests/bench/drive.bpf.h
	@mkdir -p $(@D)
	$(CLANG) -O2 -g -target bpf $(WARNINGS) -c $< -o $@

$(BUILD)/bench/%: tests/bench/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $< -lbpf -pthread -o $@

tests: all $(UNIT_TESTS) $(BUILD)/tests/differential/differential $(BENCH)

sanitized:
	$(MAKE) BUILD=$(BUILD)/sanitize SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all' tests

$(BUILD)/tests/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/libmplexc.a $(BUILD)/libmplexrun.a
	$(CC) $(CFLAGS) -fsanitize=fuzzer $^ $(LIBS_COMPILER) $(LIBS_RUNTIME) -o $@

FUZZ_TARGETS := $(FUZZERS:tests/fuzz/%.c=$(BUILD)/tests/%)

.PHONY: fuzzers fuzz-targets fuzz
fuzz-targets: $(FUZZ_TARGETS)

# libFuzzer is clang's.
fuzzers:
	$(MAKE) BUILD=$(BUILD)/fuzz CC=clang CFLAGS='-O1 -g' fuzz-targets \
		SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all'

# Each target without end, beside each other, until Ctrl-C or until one finds something.
fuzz: fuzzers all
	$(PYTHON) -B tests/fuzz/fuzz.py

# ---- allocation that fails --------------------------------------------------------------------------

$(BUILD)/tests/memory/mplexc_main.o: compiler/main.c $(BUILD)/parts_list.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Dmain=mplexc_main -c $< -o $@

$(BUILD)/tests/out_of_memory: $(BUILD)/tests/memory/out_of_memory.o $(BUILD)/tests/memory/mplexc_main.o \
		$(BUILD)/libmplexc.a $(BUILD)/libmplexrun.a
	$(CC) $(CFLAGS) $^ $(LIBS_COMPILER) $(LIBS_RUNTIME) -o $@

ifndef SANITIZE
tests: $(BUILD)/tests/out_of_memory
endif

# ---- attacks ----------------------------------------------------------------------------------------

$(BUILD)/tests/flood: tests/attack/flood.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $< -o $@

tests: $(BUILD)/tests/flood

.PHONY: attack
attack: tests
	$(SUDO) MPLEX_ATTACK=full $(PYTHON) -m pytest -s tests/attack

# The same random rule files each time; another seed finds other faults.
MPLEX_SEED ?= 20261123

check: tests sanitized fuzzers
	MPLEX_SEED=$(MPLEX_SEED) $(PYTHON) -m pytest tests

# The newest clang that the system's packages have, beside the ordinary one: a sample of all tests.
NEWEST_CLANG = $(shell apt-cache search --names-only '^clang-[0-9]+$$' 2>/dev/null | \
	cut -d ' ' -f 1 | sort -V | tail -n 1)

check-clang:
	@clang=$(NEWEST_CLANG); \
	if [ -n "$$clang" ]; then \
		$(MAKE) check-with-clang NEWEST_CLANG=$$clang; \
	else \
		echo "check-clang: 1 skipped: apt-cache knows no package clang-N, so no other clang was" \
			"tried; NEWEST_CLANG=NAME tries one that is installed"; \
	fi

check-with-clang: deps-clang tests
	$(NEWEST_CLANG) --version | head -n 1
	CLANG=$(NEWEST_CLANG) $(BUILD)/tests/differential/differential --seed $(MPLEX_SEED) \
		--files 30 --frames 1500
	CLANG=$(NEWEST_CLANG) MPLEX_SEED=$(MPLEX_SEED) $(PYTHON) -m pytest -q \
		tests/differential -k 'not random and not cookies and not sanitized' tests/unit tests/golden \
		tests/network/test_udp_frames.py tests/network/test_tcp_frames.py

# The systemd unit, in a machine of its own.
check-service: deps-kernels tests
	tests/kernels/run.py 6.12 -- env MPLEX_MACHINE=1 $(PYTHON) -m pytest -p no:cacheprovider \
		tests/services/test_systemd.py

# About ten minutes.
check-operate: tests
	REPLACEMENTS=120 KILLS=1 $(PYTHON) -m pytest tests/network/test_replace.py \
		tests/runtime/test_runtime_pins.py tests/runtime/test_runtime_faults.py

# Attached and taken off 10,000 times, pinned and in the foreground: about an hour.
CYCLES ?= 10000

check-cycles: tests
	CYCLES=$(CYCLES) $(PYTHON) -m pytest tests/runtime/test_runtime_faults.py -k cycles

# The table of docs/verifier.md, for the running kernel.
verifier: tests
	$(SUDO) $(PYTHON) -B tests/verifier/verifier.py

# Ten million frames over ten thousand rule files: about 90 minutes on two cores. A failure is made
# small and kept as a test in tests/differential/rules/.
FILES  ?= 10000
FRAMES ?= 1100
JOBS   ?= $(shell nproc)

check-long: tests
	$(SUDO) $(BUILD)/tests/differential/differential $(addprefix --seed ,$(SEED)) --files $(FILES) \
		--frames $(FRAMES) --jobs $(JOBS) --progress --save tests/differential/rules
	$(SUDO) $(BUILD)/tests/differential/differential --cookies 8

# Small mistakes in templates and emission, one at a time: which does no test notice?
MUTANTS ?= 0
SECONDS ?= 0
ONLY    ?=
EXPLAINED ?=

mutants:
	$(SUDO) $(PYTHON) -B tests/mutants/mutants.py --mutants $(MUTANTS) --seconds $(SECONDS) \
		--jobs $(JOBS) $(addprefix --seed ,$(SEED)) $(addprefix --only ,$(ONLY)) \
		$(if $(EXPLAINED),--explained)

# Kernels booted under qemu: all that tests/kernels/check.py knows, or those of KERNELS.
KERNELS ?=
check-kernels: deps-kernels tests
	$(SUDO) $(PYTHON) tests/kernels/check.py $(KERNELS) $(if $(KERNELS),,--document docs/kernels.md)

# Everything that does not need root, under AddressSanitizer and UBSan alone.
sanitize: sanitized
	BUILD=$(BUILD)/sanitize $(PYTHON) -m pytest tests/unit tests/cli tests/runtime

demo: all
	$(SUDO) $(PYTHON) tests/demo.py

# Some 15 minutes. How often programs are loaded and everything is measured; six and more give
# 95 % intervals.
BENCH_ROUNDS ?= 9

bench: all $(BENCH)
	cd tests && $(SUDO) $(PYTHON) -B -m bench --rounds $(BENCH_ROUNDS)

# ---- lint -----------------------------------------------------------------------------------------

# The emitted C has a form of its own.
SOURCES := $(filter-out tests/golden/%,$(wildcard compiler/*.[ch] runtime/*.[ch] tests/*/*.[ch]))

lint: $(TEMPLATES:%=lint/%)
	clang-format --dry-run -Werror $(SOURCES) $(TEMPLATES)
	$(MAKE) BUILD=build/gcc CC=gcc tests
	$(MAKE) BUILD=build/clang CC=clang tests

lint/%:
	$(CLANG) -O2 -g -target bpf $(WARNINGS) -Wno-unused-function -Wno-pragma-once-outside-header \
		-fsyntax-only -x c $*

format:
	clang-format -i $(SOURCES) $(TEMPLATES)

# ---- installing -----------------------------------------------------------------------------------

install: all
	install -D -m 0755 $(BUILD)/mplexc $(DESTDIR)$(PREFIX)/bin/mplexc
	install -D -m 0755 $(BUILD)/mplex-run $(DESTDIR)$(PREFIX)/sbin/mplex-run
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/doc/mplex
	sed 's|@PREFIX@|$(PREFIX)|' runtime/mplex@.service.in \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/mplex@.service
	install -m 0644 README.md docs/*.md $(DESTDIR)$(PREFIX)/share/doc/mplex

clean:
	rm -rf build

# ---- what all of this needs -----------------------------------------------------------------------

DEPS_BUILD := gcc libc6-dev pkg-config clang libbpf-dev libelf-dev libyaml-dev libjansson-dev libssl-dev \
	libnftables-dev
DEPS_TESTS := strace libcmocka-dev bpftool python3 python3-pytest python3-scapy iproute2 ethtool nftables \
	iptables python3-prometheus-client libclang-rt-dev curl tshark iperf3 ncat netcat-openbsd tcpdump \
	procps clang-format systemd ansible-core python3-yaml python3-kubernetes
# Of tests/kernels alone. virtiofsd is a package of its own where qemu no longer contains it.
DEPS_KERNELS = qemu-system-x86 kmod cpio xz-utils \
	$(shell apt-cache show virtiofsd >/dev/null 2>&1 && echo virtiofsd)
# Of check-clang alone.
DEPS_CLANG  = $(NEWEST_CLANG)
# Prometheus's own check of the metrics: 100 MB, and its service starts with it, so it is asked for.
DEPS_PROMTOOL := prometheus
# What mplex is measured against. As packaged, neither listens anywhere.
DEPS_BENCH := haproxy sslh
SUDO       := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Installs what is missing, on Debian and Ubuntu; elsewhere the packages have to be there.
deps: deps-build deps-tests
deps-%:
	@command -v dpkg-query >/dev/null || exit 0; \
	missing=$$(for name in $(DEPS_$(shell echo $* | tr a-z A-Z)); do \
		dpkg-query -W -f '$${db:Status-Status}\n' "$$name" 2>/dev/null | grep -qx installed || \
			printf '%s ' "$$name"; \
	done); \
	[ -z "$$missing" ] || { $(SUDO) apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; }

-include $(wildcard $(BUILD)/*.d $(BUILD)/compiler/*.d $(BUILD)/runtime/*.d $(BUILD)/tests/*.d $(BUILD)/tests/*/*.d \
	$(BUILD)/bench/*.d)
