# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
#   make            mplexc and mplex-run, in build/
#   make demo       builds, and shows the whole on real traffic between two network namespaces
#   make check      all tests; what needs root counts as skipped without it
#   make lint       warnings of gcc and clang, format, templates on their own
#   make sanitize   the unit and command line tests under AddressSanitizer and UBSan
#   make install    PREFIX=/usr/local DESTDIR=
#   make deps       the Debian or Ubuntu packages that all of this needs
#
# A target in a build directory of its own: make BUILD=build/clang CC=clang

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
PYTHON  ?= /usr/bin/python3

CFLAGS   ?= -O2 -g
SANITIZE ?=
WARNINGS := -Wall -Wextra -Werror
override CPPFLAGS += -D_GNU_SOURCE -iquote compiler -iquote runtime -iquote $(BUILD) -MMD -MP
override CFLAGS   += -std=gnu11 $(WARNINGS) $(SANITIZE)

PKGS_COMPILER := yaml-0.1 jansson libcrypto
PKGS_RUNTIME  := libbpf libelf jansson libcrypto
LIBS_COMPILER  = $(shell pkg-config --libs $(PKGS_COMPILER))
LIBS_RUNTIME   = $(shell pkg-config --libs $(PKGS_RUNTIME))

TEMPLATES := $(sort $(wildcard templates/*.bpf.c)) templates/written.bpf.h
COMPILER  := $(filter-out compiler/main.c compiler/embed_parts.c,$(sort $(wildcard compiler/*.c)))
RUNTIME   := $(filter-out runtime/main.c,$(sort $(wildcard runtime/*.c)))
UNITS     := $(sort $(wildcard tests/unit/test_*.c))

COMPILER_OBJECTS := $(COMPILER:%.c=$(BUILD)/%.o) $(BUILD)/parts.o
RUNTIME_OBJECTS  := $(RUNTIME:%.c=$(BUILD)/%.o)
UNIT_TESTS       := $(UNITS:tests/unit/%.c=$(BUILD)/tests/%)

.PHONY: all demo check check-unit lint sanitize install clean deps format
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/mplexc $(BUILD)/mplex-run

# ---- the templates, embedded ----------------------------------------------------------------------

$(BUILD)/embed_parts: compiler/embed_parts.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $< -o $@

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

$(BUILD)/tests/test_run_%: tests/unit/test_run_%.c $(BUILD)/libmplexrun.a $(BUILD)/parts_list.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $< $(BUILD)/libmplexrun.a $(LIBS_RUNTIME) -lcmocka -o $@

$(BUILD)/tests/test_%: tests/unit/test_%.c $(BUILD)/libmplexc.a $(BUILD)/parts_list.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $< $(BUILD)/libmplexc.a $(LIBS_COMPILER) -lcmocka -ldl -lelf -lbpf -o $@

-include $(wildcard $(BUILD)/*.d $(BUILD)/compiler/*.d $(BUILD)/runtime/*.d $(BUILD)/tests/*.d)

clean:
	rm -rf build
