/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fuzzes mplexc: any bytes as a rule file, through every stage in memory up to the emitted C and
 * the rule file's own tests. libFuzzer (docs/testing.md) makes the bytes and sees crashes and
 * leaks; what else must hold of every rule file is checked here.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "../../compiler/diagnostic.h"
#include "../../compiler/emit.h"
#include "../../compiler/plan.h"
#include "../../compiler/rules.h"
#include "../../compiler/source.h"
#include "../../compiler/testing.h"
#include "fuzz.h"

static FILE *open_text(struct text *text)
{
	FILE *out = open_memstream(&text->bytes, &text->size);

	expect(out);
	return out;
}

static void close_text(FILE *out)
{
	expect(!ferror(out) && !fclose(out));
}

/* What is printed, the program too: lines of whole characters, none of which acts on a terminal. */
static void check_printed(const struct text *text)
{
	for (size_t at = 0; at < text->size;) {
		uint32_t character;
		size_t length = character_decode(text->bytes + at, text->size - at, &character);

		expect(length && !character_is_hidden(character));
		at += length;
	}
	expect(!text->size || text->bytes[text->size - 1] == '\n');
}

static void check_diagnostics(const struct diagnostics *diagnostics, const struct source *source)
{
	struct text text = {0}, json = {0};
	FILE *out = open_text(&text);
	json_t *document;

	expect(!diagnostics_print(diagnostics, source, DIAGNOSTICS_TEXT, out));
	close_text(out);
	check_printed(&text);
	out = open_text(&json);
	expect(!diagnostics_print(diagnostics, source, DIAGNOSTICS_JSON, out));
	close_text(out);
	document = json_loadb(json.bytes, json.size, 0, NULL);
	expect(document && memchr(json.bytes, '\n', json.size) == json.bytes + json.size - 1);
	json_decref(document);
	free(text.bytes);
	free(json.bytes);
}

static void check_plan(const struct rules *rules, const struct plan_options *options,
		       struct diagnostics *diagnostics)
{
	struct plan plan, untouched;
	struct text code = {0}, explained = {0};
	FILE *out;
	int err;

	memset(&plan, 0x5a, sizeof(plan));
	untouched = plan;
	err = plan_make(rules, options, diagnostics, &plan);
	if (err) {
		expect(err == -EINVAL && diagnostics->error_count);
		expect(!memcmp(&plan, &untouched, sizeof(plan)));
		return;
	}
	out = open_text(&code);
	expect(!emit(&plan, out));
	close_text(out);
	check_printed(&code);
	out = open_text(&explained);
	plan_explain(&plan, out);
	close_text(out);
	check_printed(&explained);
	free(code.bytes);
	free(explained.bytes);
	plan_free(&plan);
}

static void check_rules(const struct rules *rules, const struct source *source)
{
	static const struct plan_options options[] = {
		{.dispatch = DISPATCH_AUTO},
		{.dispatch = DISPATCH_CHAIN, .counters = COUNT_ROUTES},
		{.dispatch = DISPATCH_HASH, .counters = COUNT_LISTENERS},
	};
	struct text tested = {0};
	FILE *out = open_text(&tested);

	expect(rule_tests_run(rules, source, out) >= 0);
	close_text(out);
	check_printed(&tested);
	free(tested.bytes);
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		struct diagnostics diagnostics = {0};

		check_plan(rules, &options[i], &diagnostics);
		check_diagnostics(&diagnostics, source);
		diagnostics_free(&diagnostics);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct diagnostics diagnostics = {0};
	struct source source;
	struct rules rules, untouched;
	int err;

	expect(!source_from_bytes("fuzz/rules.yaml", bytes, size, &source));
	memset(&rules, 0x5a, sizeof(rules));
	untouched = rules;
	err = rules_read(&source, &diagnostics, &rules);
	check_diagnostics(&diagnostics, &source);
	if (err) {
		expect(err == -EINVAL && diagnostics.error_count);
		expect(!memcmp(&rules, &untouched, sizeof(rules)));
	} else {
		expect(!diagnostics.error_count);
		check_rules(&rules, &source);
		rules_free(&rules);
	}
	diagnostics_free(&diagnostics);
	source_free(&source);
	return 0;
}
