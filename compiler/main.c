/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplexc: from a rule file to a BPF program.
 *
 * The command line, and the stages in their order: source, rules, plan, emission, output. All that
 * there is to say about the rule file is printed once, at the end.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clang.h"
#include "diagnostic.h"
#include "emit.h"
#include "output.h"
#include "plan.h"
#include "rules.h"
#include "source.h"
#include "testing.h"
#include "text.h"
#include "version.h"

enum {
	DONE = 0,
	FAILED = 1,
	USAGE = 2,
	BAD_RULES = 3,
};

struct options {
	const char *rules, *output, *dependencies;
	bool write_dependencies, check, test, explain, warnings_are_errors;
	enum diagnostics_format format;
	struct plan_options plan;
};

static const char help[] =
	"usage: mplexc FILE -o OUT      compile a rule file, - for standard input\n"
	"       mplexc --check FILE     say what is wrong with it\n"
	"       mplexc --test FILE      run the tests in it\n"
	"       mplexc --explain FILE   say what the program will be, and at what cost\n"
	"\n"
	"  -o OUT             BPF C (OUT.bpf.c, - for standard output) or, where OUT ends in .o,\n"
	"                     an object that $CLANG (clang) makes of it\n"
	"  --check            compile and write nothing\n"
	"  --test             run the tests of the rule file; with -o, write only if all pass\n"
	"  --explain          print what was chosen and why\n"
	"  --dispatch=SHAPE   how tags are looked up: auto (default), chain, hash\n"
	"  --counters=WHAT    what is counted: auto (default: each route, up to 1024 of\n"
	"                     them), route, listener (its routes together)\n"
	"  -Werror            treat warnings as errors\n"
	"  --diagnostics=FORM text (default), or json: one line on standard error\n"
	"  -MD                also write OUT.d, what OUT depends on, for make\n"
	"  -MF FILE           the same into FILE\n"
	"  --version, --help\n"
	"\n"
	"Exit status: 0 done, 1 failed (a test, clang, the output), 2 usage, 3 bad rule file.\n";

static void free_text(struct text *text)
{
	free(text->bytes);
}

static void free_string(char **string)
{
	free(*string);
}

static void free_bytes(void **bytes)
{
	free(*bytes);
}

__attribute__((format(printf, 1, 2))) static int usage(const char *format, ...)
{
	va_list arguments;

	fputs("mplexc: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputs(": see mplexc --help\n", stderr);
	return USAGE;
}

/* Which of the words an option has, or -1. */
static int choose(const char *text, const char *const *words, int count)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(text, words[i]))
			return i;
	return -1;
}

/* Returns whether the program is to go on; if not, *status is what to exit with. */
static bool read_options(int argc, char **argv, struct options *options, int *status)
{
	static const char *const shapes[] = {
		[DISPATCH_AUTO] = "auto", [DISPATCH_CHAIN] = "chain", [DISPATCH_HASH] = "hash"};
	static const char *const counters[] = {
		[COUNT_AUTO] = "auto", [COUNT_ROUTES] = "route", [COUNT_LISTENERS] = "listener"};
	static const char *const formats[] = {
		[DIAGNOSTICS_TEXT] = "text", [DIAGNOSTICS_JSON] = "json"};
	enum {
		CHECK = 256,
		TEST,
		EXPLAIN,
		DISPATCH,
		COUNTERS,
		DIAGNOSTICS,
		VERSION,
		HELP
	};
	static const struct option names[] = {
		{"check", no_argument, NULL, CHECK},
		{"test", no_argument, NULL, TEST},
		{"explain", no_argument, NULL, EXPLAIN},
		{"dispatch", required_argument, NULL, DISPATCH},
		{"counters", required_argument, NULL, COUNTERS},
		{"diagnostics", required_argument, NULL, DIAGNOSTICS},
		{"version", no_argument, NULL, VERSION},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	int option, chosen;

	*status = USAGE;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":o:M:W:h", names, NULL)) != -1) {
		switch (option) {
		case 'o':
			options->output = optarg;
			break;
		case 'M':
			options->write_dependencies = true;
			if (!strcmp(optarg, "D"))
				break;
			if (*optarg != 'F')
				return usage("unknown option -M%s", optarg), false;
			options->dependencies = optarg[1] ? optarg + 1 : argv[optind++];
			if (!options->dependencies)
				return usage("-MF needs a file"), false;
			break;
		case 'W':
			if (strcmp(optarg, "error"))
				return usage("unknown option -W%s", optarg), false;
			options->warnings_are_errors = true;
			break;
		case CHECK:
			options->check = true;
			break;
		case TEST:
			options->test = true;
			break;
		case EXPLAIN:
			options->explain = true;
			break;
		case DISPATCH:
			chosen = choose(optarg, shapes, 3);
			if (chosen < 0)
				return usage("--dispatch is auto, chain or hash"), false;
			options->plan.dispatch = chosen;
			break;
		case COUNTERS:
			chosen = choose(optarg, counters, 3);
			if (chosen < 0)
				return usage("--counters is auto, listener or route"), false;
			options->plan.counters = chosen;
			break;
		case DIAGNOSTICS:
			chosen = choose(optarg, formats, 2);
			if (chosen < 0)
				return usage("--diagnostics is text or json"), false;
			options->format = chosen;
			break;
		case VERSION:
			puts("mplexc " MPLEX_VERSION);
			*status = DONE;
			return false;
		case 'h':
		case HELP:
			fputs(help, stdout);
			*status = DONE;
			return false;
		case ':':
			return usage("%s needs a value", argv[optind - 1]), false;
		default:
			return usage("unknown option %s", argv[optind - 1]), false;
		}
	}
	if (optind >= argc)
		return usage("no rule file given"), false;
	if (optind + 1 < argc)
		return usage("one rule file at a time, not also %s", argv[optind + 1]), false;
	options->rules = argv[optind];
	if (!options->output && !options->check && !options->test && !options->explain)
		return usage("nothing to do: give -o, --check, --test or --explain"), false;
	if (options->write_dependencies && !options->output)
		return usage("-MD and -MF need -o"), false;
	if (options->write_dependencies && !options->dependencies && !strcmp(options->output, "-"))
		return usage("-MD needs a name for its file: give -MF FILE"), false;
	return true;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length >= end_length && !strcmp(text + length - end_length, end);
}

/* A file name as make reads it. */
static void write_name(const char *name, FILE *out)
{
	for (; *name; name++) {
		if (*name == '$')
			fputc('$', out);
		else if (strchr(" \t#:", *name))
			fputc('\\', out);
		fputc(*name, out);
	}
}

static int dependency_rule(const struct options *options, struct text *rule)
{
	FILE *out = text_open(rule);

	if (out) {
		write_name(options->output, out);
		fputc(':', out);
		if (strcmp(options->rules, "-")) {
			fputc(' ', out);
			write_name(options->rules, out);
		}
		fputc('\n', out);
	}
	return text_close(out, rule);
}

static int write_file(const char *path, const void *bytes, size_t size,
		      struct diagnostics *diagnostics)
{
	int err = output_write(path, bytes, size);

	if (!err)
		return DONE;
	diagnostics_error(diagnostics, NOWHERE, "cannot write %s: %s",
			  strcmp(path, "-") ? path : "standard output", strerror(-err));
	return FAILED;
}

static int write_dependencies(const struct options *options, struct diagnostics *diagnostics)
{
	__attribute__((cleanup(free_text))) struct text rule = {0};
	__attribute__((cleanup(free_string))) char *path = NULL;
	const char *dot = strrchr(options->output, '.'), *slash = strrchr(options->output, '/');
	int stem = dot && (!slash || dot > slash) ? dot - options->output
						  : (int)strlen(options->output);
	int err = dependency_rule(options, &rule);

	if (options->dependencies)
		path = strdup(options->dependencies);
	else if (asprintf(&path, "%.*s.d", stem, options->output) < 0)
		path = NULL;
	if (err || !path) {
		diagnostics_error(diagnostics, NOWHERE, "out of memory");
		return FAILED;
	}
	return write_file(path, rule.bytes, rule.size, diagnostics);
}

static int write_program(const struct plan *plan, const struct options *options,
			 struct diagnostics *diagnostics)
{
	__attribute__((cleanup(free_text))) struct text code = {0};
	__attribute__((cleanup(free_bytes))) void *object = NULL;
	size_t object_size;
	FILE *out = text_open(&code);
	int err = out ? emit(plan, out) : 0;

	if (text_close(out, &code) || err) {
		diagnostics_error(diagnostics, NOWHERE, "out of memory");
		return FAILED;
	}
	if (ends_with(options->output, ".o") &&
	    clang_compile(code.bytes, code.size, diagnostics, &object, &object_size))
		return FAILED;
	/* Before the output: a new output with old dependencies would go unnoticed. */
	if (options->write_dependencies && write_dependencies(options, diagnostics))
		return FAILED;
	return object ? write_file(options->output, object, object_size, diagnostics)
		      : write_file(options->output, code.bytes, code.size, diagnostics);
}

static int run_tests(const struct rules *rules, const struct source *source, FILE *out,
		     struct diagnostics *diagnostics)
{
	int failed = rule_tests_run(rules, source, out);

	if (failed < 0)
		diagnostics_error(diagnostics, NOWHERE, "the tests could not be run: %s",
				  failed == -EIO ? "libcrypto failed, most likely out of memory"
						 : strerror(-failed));
	return failed ? FAILED : DONE;
}

static int compile(const struct rules *rules, const struct source *source,
		   const struct options *options, struct diagnostics *diagnostics)
{
	/* Where the program itself goes to standard output, nothing else may. */
	bool taken = options->output &&
		     (!strcmp(options->output, "-") || !strcmp(options->output, "/dev/stdout"));
	__attribute__((cleanup(plan_free))) struct plan plan = {0};
	FILE *out = taken ? stderr : stdout;
	int err = plan_make(rules, &options->plan, diagnostics, &plan), status = DONE;

	if (err == -EINVAL)
		return BAD_RULES;
	if (err) {
		diagnostics_error(diagnostics, NOWHERE, "out of memory");
		return FAILED;
	}
	if (options->explain)
		plan_explain(&plan, out);
	if (options->test)
		status = run_tests(rules, source, out, diagnostics);
	if (fflush(out) || ferror(out)) {
		diagnostics_error(diagnostics, NOWHERE, "cannot write to standard output: %s",
				  strerror(errno));
		return FAILED;
	}
	if (status == DONE && options->output)
		status = write_program(&plan, options, diagnostics);
	return status;
}

/* The stages; what there is to say is added to diagnostics. */
static int run(const struct options *options, struct diagnostics *diagnostics,
	       struct source *source)
{
	__attribute__((cleanup(rules_free))) struct rules rules = {0};
	int err = source_read(options->rules, source);

	if (err == -EFBIG) {
		diagnostics_error(diagnostics, NOWHERE,
				  "%s is larger than %d MiB: a rule file is smaller",
				  options->rules, SOURCE_MAX >> 20);
		return BAD_RULES;
	}
	if (err) {
		diagnostics_error(diagnostics, NOWHERE, "cannot read %s: %s", options->rules,
				  strerror(-err));
		return FAILED;
	}
	err = rules_read(source, diagnostics, &rules);
	if (err == -EINVAL)
		return BAD_RULES;
	if (err) {
		diagnostics_error(diagnostics, NOWHERE, "out of memory");
		return FAILED;
	}
	return compile(&rules, source, options, diagnostics);
}

int main(int argc, char **argv)
{
	__attribute__((cleanup(diagnostics_free))) struct diagnostics diagnostics = {0};
	__attribute__((cleanup(source_free))) struct source source = {0};
	struct options options = {0};
	int status;

	if (read_options(argc, argv, &options, &status)) {
		/* Whoever started this may ignore it, but clang's end has to be heard of. */
		signal(SIGCHLD, SIG_DFL);
		diagnostics.warnings_are_errors = options.warnings_are_errors;
		status = run(&options, &diagnostics, &source);
		if (diagnostics_print(&diagnostics, source.text ? &source : NULL, options.format,
				      stderr))
			fputs("mplexc: out of memory\n", stderr);
	}
	if (fflush(stdout) || ferror(stdout)) {
		fputs("mplexc: cannot write to standard output\n", stderr);
		if (status == DONE)
			status = FAILED;
	}
	return status;
}
