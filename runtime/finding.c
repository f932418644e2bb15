/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Findings: collected, and written as text and as JSON. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "finding.h"

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[] = {
		[VERDICT_OK] = "ok",
		[VERDICT_UNKNOWN] = "unknown",
		[VERDICT_WARNING] = "warning",
		[VERDICT_PROBLEM] = "problem",
	};

	return names[verdict];
}

void found(struct findings *findings, const char *check, enum verdict verdict, const char *format,
	   ...)
{
	struct finding *grown, *finding;
	va_list arguments;

	grown = reallocarray(findings->list, findings->count + 1, sizeof(*grown));
	if (!grown) {
		findings->incomplete = true;
		return;
	}
	findings->list = grown;
	finding = &grown[findings->count++];
	finding->check = check;
	finding->verdict = verdict;
	finding->remedy[0] = '\0';
	va_start(arguments, format);
	vsnprintf(finding->text, sizeof(finding->text), format, arguments);
	va_end(arguments);
}

void mended_by(struct findings *findings, const char *format, ...)
{
	struct finding *finding;
	va_list arguments;

	/* The one that was added last may be missing. */
	if (findings->incomplete)
		return;
	finding = &findings->list[findings->count - 1];
	va_start(arguments, format);
	vsnprintf(finding->remedy, sizeof(finding->remedy), format, arguments);
	va_end(arguments);
}

bool findings_have(const struct findings *findings, enum verdict verdict)
{
	for (size_t i = 0; i < findings->count; i++) {
		if (findings->list[i].verdict >= verdict)
			return true;
	}
	return false;
}

void finding_sentence(const struct finding *finding, char *sentence, size_t size)
{
	snprintf(sentence, size, "%s%s%s%s", finding->text, finding->remedy[0] ? ": run \"" : "",
		 finding->remedy, finding->remedy[0] ? "\"" : "");
}

void findings_text(const struct findings *findings, FILE *out)
{
	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->list[i];

		fprintf(out, "%-8s %-10s %s\n", verdict_name(finding->verdict), finding->check,
			finding->text);
		if (finding->remedy[0])
			fprintf(out, "%-8s %-10s run: %s\n", "", "", finding->remedy);
	}
}

struct json_t *findings_json(const struct findings *findings)
{
	json_t *list = json_array();

	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->list[i];
		json_t *value = json_pack("{s:s, s:s, s:s}", "check", finding->check, "verdict",
					  verdict_name(finding->verdict), "text", finding->text);

		if (finding->remedy[0])
			json_object_set_new(value, "remedy", json_string(finding->remedy));
		if (json_array_append_new(list, value)) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

void findings_free(struct findings *findings)
{
	free(findings->list);
	memset(findings, 0, sizeof(*findings));
}
