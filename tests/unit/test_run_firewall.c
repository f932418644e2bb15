/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The walk through nftables' rules, on rulesets as libnftables-json(5) writes them. What real
 * kernels do with such rules is compared in tests/runtime/test_runtime_doctor.py; here are the
 * shapes that not every kernel takes, and those that nobody should write.
 */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "firewall.h"

/* As ints, since the tables compare and swap them. */
enum {
	P = FIREWALL_PASSES,
	M = FIREWALL_DEPENDS,
	D = FIREWALL_DROPS
};

#define TABLE "{\"table\":{\"family\":\"inet\",\"name\":\"t\"}},"
#define BASE(hook, prio, policy)                                                              \
	"{\"chain\":{\"family\":\"inet\",\"table\":\"t\",\"name\":\"" hook                    \
	"\",\"type\":\"filter\",\"hook\":\"" hook "\",\"prio\":" prio ",\"policy\":\"" policy \
	"\"}},"
#define RULE(chain, statements)                                                              \
	"{\"rule\":{\"family\":\"inet\",\"table\":\"t\",\"chain\":\"" chain "\",\"handle\":" \
	"7,\"expr\":[" statements "]}},"
#define END "{\"metainfo\":{}}"
#define MATCH(op, left, right) \
	"{\"match\":{\"op\":\"" op "\",\"left\":" left ",\"right\":" right "}}"
#define PORT   "{\"payload\":{\"protocol\":\"tcp\",\"field\":\"dport\"}}"
#define SADDR  "{\"payload\":{\"protocol\":\"ip\",\"field\":\"saddr\"}}"
#define IIF    "{\"meta\":{\"key\":\"iifname\"}}"
#define STATE  "{\"ct\":{\"key\":\"state\"}}"
#define FLAGS  "{\"payload\":{\"protocol\":\"tcp\",\"field\":\"flags\"}}"
#define ACCEPT "{\"accept\":null}"
#define DROP   "{\"drop\":null}"

static struct firewall_answer judge(const char *items, uint8_t version, uint8_t protocol,
				    const char *state)
{
	const struct firewall_packet packet = {
		.version = version,
		.protocol = protocol,
		.port = 5000,
		.state = state,
		.interface = "eth0",
	};
	static json_t *ruleset;
	struct firewall_answer answer;
	char text[8192];

	/* Kept until the next one, since the answer points into it. */
	json_decref(ruleset);
	snprintf(text, sizeof(text), "{\"nftables\":[%s" END "]}", items);
	ruleset = json_loads(text, 0, NULL);
	assert_non_null(ruleset);
	firewall_judge(ruleset, &packet, &answer);
	return answer;
}

static int fate(const char *items)
{
	return judge(items, 4, IPPROTO_TCP, "new").fate;
}

/* One rule that accepts before a policy that drops, and one that drops before one that accepts. */
static void assert_match(int accepted, const char *match)
{
	const int opposite = accepted == P ? D : accepted == D ? P : M;
	char items[4096];

	snprintf(items, sizeof(items), BASE("input", "0", "drop") RULE("input", "%s," ACCEPT),
		 match);
	assert_int_equal(fate(items), accepted);
	snprintf(items, sizeof(items), BASE("input", "0", "accept") RULE("input", "%s," DROP),
		 match);
	assert_int_equal(fate(items), opposite);
}

static void test_matches(void **state)
{
	static const struct {
		int fate;
		const char *match;
	} cases[] = {
		{P, MATCH("==", PORT, "5000")},
		{D, MATCH("==", PORT, "5001")},
		{D, MATCH("!=", PORT, "5000")},
		{P, MATCH("!=", PORT, "{\"set\":[1,2]}")},
		{P, MATCH("==", PORT, "{\"range\":[5000,5003]}")},
		{D, MATCH("==", PORT, "{\"range\":[5001,5003]}")},
		{P, MATCH("==", PORT, "{\"set\":[22,{\"range\":[4000,5000]}]}")},
		{P, MATCH("==", PORT, "{\"set\":[{\"elem\":{\"val\":5000,\"timeout\":9}}]}")},
		{M, MATCH("==", PORT, "\"@missing\"")},
		{P, MATCH("<", PORT, "5001")},
		{D, MATCH("<", PORT, "5000")},
		{P, MATCH("<=", PORT, "5000")},
		{P, MATCH(">=", PORT, "5000")},
		{D, MATCH(">", PORT, "5000")},
		{M, MATCH("==", PORT, "\"no-such-service\"")},
		{M, MATCH("==", SADDR, "\"10.0.0.1\"")},
		{M, MATCH("!=", SADDR, "\"10.0.0.1\"")},
		{M, MATCH("==", SADDR, "{\"prefix\":{\"addr\":\"10.0.0.0\",\"len\":8}}")},
		{P, MATCH("==", IIF, "\"eth0\"")},
		{P, MATCH("==", IIF, "\"eth*\"")},
		{D, MATCH("==", IIF, "\"eth1\"")},
		{D, MATCH("==", IIF, "3")},
		{P, MATCH("in", STATE, "[\"new\",\"established\"]")},
		{D, MATCH("in", STATE, "[\"related\",\"established\"]")},
		{P, MATCH("==", STATE, "{\"set\":[\"new\",\"untracked\"]}")},
		{D, MATCH("!=", STATE, "\"new\"")},
		{D, MATCH("in", FLAGS, "\"syn\"")},
		{P, MATCH("in", FLAGS, "[\"syn\",\"ack\"]")},
		{P, MATCH("!", FLAGS, "\"syn\"")},
		{P, MATCH("==", FLAGS, "[\"psh\",\"ack\"]")},
		{D, MATCH("==", "{\"&\":[" FLAGS ",[\"syn\",\"ack\"]]}", "\"syn\"")},
		{P, MATCH("!=", "{\"&\":[" FLAGS ",{\"|\":[\"syn\",\"ack\"]}]}", "\"syn\"")},
		{P, MATCH("==", "{\"meta\":{\"key\":\"l4proto\"}}", "6")},
		{P, MATCH("==", "{\"meta\":{\"key\":\"l4proto\"}}", "{\"set\":[\"udp\",\"tcp\"]}")},
		{D, MATCH("==", "{\"meta\":{\"key\":\"nfproto\"}}", "\"ipv6\"")},
		{P, MATCH("==", "{\"payload\":{\"protocol\":\"ip\",\"field\":\"protocol\"}}",
			  "\"tcp\"")},
		/* A field that the packet has not, whatever the comparison. */
		{D, MATCH("!=", "{\"payload\":{\"protocol\":\"udp\",\"field\":\"dport\"}}", "1")},
		{D, MATCH("!=", "{\"payload\":{\"protocol\":\"ip6\",\"field\":\"saddr\"}}",
			  "\"::1\"")},
		{D, MATCH("!=", "{\"payload\":{\"protocol\":\"icmp\",\"field\":\"type\"}}", "1")},
		{P,
		 MATCH("==", "{\"fib\":{\"result\":\"type\",\"flags\":[\"daddr\"]}}", "\"local\"")},
		{M, MATCH("==", "{\"fib\":{\"result\":\"oif\",\"flags\":[\"saddr\"]}}", "true")},
		{P, MATCH("==", "{\"concat\":[" IIF "," PORT "]}",
			  "{\"set\":[{\"concat\":[\"eth1\",5000]},{\"concat\":[\"eth0\",5000]}]}")},
		{D, MATCH("==", "{\"concat\":[" IIF "," PORT "]}",
			  "{\"set\":[{\"concat\":[\"eth0\",5001]}]}")},
		{M, MATCH("==", "{\"concat\":[" SADDR "," PORT "]}",
			  "{\"set\":[{\"concat\":[\"10.0.0.1\",5000]}]}")},
		{D, MATCH("==", "{\"concat\":[" SADDR "," PORT "]}",
			  "{\"set\":[{\"concat\":[\"10.0.0.1\",5001]}]}")},
		/* Statements beside matches. */
		{P, "{\"counter\":{\"packets\":0,\"bytes\":0}}"},
		{P, "{\"log\":{\"prefix\":\"x\"}}"},
		{M, "{\"limit\":{\"rate\":1,\"per\":\"second\"}}"},
		{M, "{\"xt\":{\"type\":\"match\",\"name\":\"conntrack\"}}"},
		{M, "{\"statement of tomorrow\":1}"},
		/* Nonsense. */
		{M, MATCH("==", "{}", "5000")},
		{M, MATCH("==", "null", "null")},
		{M, MATCH("~", PORT, "5000")},
		{M, "{\"match\":null}"},
		{M, "{\"match\":[]}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		print_message("%s\n", cases[i].match);
		assert_match(cases[i].fate, cases[i].match);
	}
}

#define SET(elements) \
	"{\"set\":{\"family\":\"inet\",\"table\":\"t\",\"name\":\"s\",\"elem\":[" elements "]}},"
#define VMAP(data) "{\"vmap\":{\"key\":" PORT ",\"data\":" data "}}"

static void test_sets_and_maps(void **state)
{
	(void)state;
	assert_int_equal(fate(SET("22,5000") BASE("input", "0", "drop")
				      RULE("input", MATCH("==", PORT, "\"@s\"") "," ACCEPT)),
			 P);
	assert_int_equal(fate(SET("22") BASE("input", "0", "drop")
				      RULE("input", MATCH("==", PORT, "\"@s\"") "," ACCEPT)),
			 D);
	assert_int_equal(fate(BASE("input", "0", "drop") RULE(
				 "input", VMAP("{\"set\":[[22," DROP "],[5000," ACCEPT "]]}"))),
			 P);
	assert_int_equal(
		fate(BASE("input", "0", "accept") RULE("input", VMAP("{\"set\":[[22," DROP "]]}"))),
		P);
	assert_int_equal(fate(BASE("input", "0", "accept") RULE(
				 "input", "{\"vmap\":{\"key\":" SADDR
					  ",\"data\":{\"set\":[[\"10.0.0.1\"," DROP "]]}}}")),
			 M);
	/* A map that the ruleset does not show. */
	assert_int_equal(fate(BASE("input", "0", "drop") RULE("input", VMAP("\"@gone\""))
				      RULE("input", ACCEPT)),
			 M);
}

#define JUMP(target) "{\"jump\":{\"target\":\"" target "\"}}"
#define GOTO(target) "{\"goto\":{\"target\":\"" target "\"}}"
#define RETURN	     "{\"return\":null}"
#define MAYBE	     MATCH("==", SADDR, "\"10.0.0.1\"")

static void test_chains(void **state)
{
	(void)state;
	/* Back from a jump the walk goes on, back from a goto it does not. */
	assert_int_equal(fate(BASE("input", "0", "drop") RULE("input", JUMP("c"))
				      RULE("input", ACCEPT) RULE("c", RETURN) RULE("c", DROP)),
			 P);
	assert_int_equal(fate(BASE("input", "0", "drop") RULE("input", GOTO("c"))
				      RULE("input", ACCEPT) RULE("c", RETURN)),
			 D);
	/* Behind a possible return nothing is certain, but only in that chain. */
	assert_int_equal(fate(BASE("input", "0", "accept") RULE("input", JUMP("c"))
				      RULE("c", MAYBE "," RETURN) RULE("c", DROP)),
			 M);
	assert_int_equal(fate(BASE("input", "0", "accept") RULE("input", JUMP("c"))
				      RULE("input", DROP) RULE("c", MAYBE "," RETURN)),
			 D);
	assert_int_equal(fate(BASE("input", "0", "accept") RULE("input", MAYBE "," JUMP("c"))
				      RULE("c", DROP)),
			 M);
	assert_int_equal(fate(BASE("input", "0", "drop") RULE("input", MAYBE "," GOTO("c"))
				      RULE("input", ACCEPT) RULE("c", RETURN)),
			 M);
	/* The kernel refuses a loop; a walk through one ends. */
	assert_int_equal(fate(BASE("input", "0", "drop") RULE("input", JUMP("input"))
				      RULE("input", JUMP("input")) RULE("input", ACCEPT)),
			 P);
}

static void test_hooks(void **state)
{
	struct firewall_answer answer;

	(void)state;
	/* An accept ends its own chain alone. */
	answer = judge(BASE("input", "0", "accept") RULE("input", DROP)
			       BASE("prerouting", "5", "accept") RULE("prerouting", ACCEPT),
		       4, IPPROTO_TCP, "new");
	assert_int_equal(answer.fate, D);
	assert_string_equal(answer.chain, "input");
	assert_string_equal(answer.what, "rule 7 of chain input");
	/* One that drops for certain matters more than one that may. */
	answer = judge(BASE("prerouting", "0", "accept") RULE("prerouting", MAYBE "," DROP)
			       BASE("input", "0", "drop"),
		       4, IPPROTO_TCP, "new");
	assert_int_equal(answer.fate, D);
	assert_string_equal(answer.what, "the policy");
	/* Of two that may, the first is named, with what it depends on. */
	answer = judge(BASE("prerouting", "0", "accept") RULE("prerouting", MAYBE "," DROP)
			       BASE("input", "0", "drop") RULE("input", MAYBE "," ACCEPT),
		       4, IPPROTO_TCP, "new");
	assert_int_equal(answer.fate, M);
	assert_string_equal(answer.chain, "prerouting");
	assert_string_equal(answer.depends, "ip saddr");
	/* Hooks that the packet does not come by. */
	assert_int_equal(fate(BASE("forward", "0", "drop") BASE("output", "0", "drop")), P);
	/* What goes elsewhere may not arrive. */
	assert_int_equal(fate(BASE("prerouting", "-100", "accept")
				      RULE("prerouting", "{\"redirect\":{\"port\":1}}")),
			 M);
}

#define INGRESS(dev)                                                                          \
	"{\"chain\":{\"family\":\"netdev\",\"table\":\"t\",\"name\":\"c\",\"hook\":\"ingress" \
	"\",\"prio\":0,\"policy\":\"drop\"" dev "}},"

static void test_ingress(void **state)
{
	(void)state;
	assert_int_equal(fate(INGRESS(",\"dev\":\"eth0\"")), D);
	assert_int_equal(fate(INGRESS(",\"dev\":\"eth1\"")), P);
	assert_int_equal(fate(INGRESS(",\"dev\":[\"eth1\",\"eth0\"]")), D);
	/* Older versions of the library leave the device out. */
	assert_int_equal(fate(INGRESS("") "{\"rule\":{\"family\":\"netdev\",\"table\":\"t\","
					  "\"chain\":\"c\",\"expr\":[" DROP "]}},"),
			 M);
}

static void test_packets(void **state)
{
	static const char by_state[] = BASE("input", "0", "accept")
		RULE("input", MATCH("in", STATE, "\"invalid\"") "," DROP);
	static const char v6_only[] =
		"{\"chain\":{\"family\":\"ip6\",\"table\":\"t\",\"name\":\"c\",\"hook\":\"input\","
		"\"prio\":0,\"policy\":\"drop\"}},";

	(void)state;
	assert_int_equal(judge(by_state, 4, IPPROTO_TCP, "new").fate, P);
	assert_int_equal(judge(by_state, 4, IPPROTO_TCP, "invalid").fate, D);
	assert_int_equal(judge(v6_only, 4, IPPROTO_TCP, "new").fate, P);
	assert_int_equal(judge(v6_only, 6, IPPROTO_TCP, "new").fate, D);
	assert_int_equal(judge(BASE("input", "0", "drop")
				       RULE("input", MATCH("==", PORT, "5000") "," ACCEPT),
			       4, IPPROTO_UDP, "new")
				 .fate,
			 D);
}

static void test_no_ruleset(void **state)
{
	const struct firewall_packet packet = {.version = 4, .state = "new", .interface = "eth0"};
	struct firewall_answer answer;

	(void)state;
	assert_int_equal(fate(""), P);
	assert_int_equal(fate(TABLE), P);
	firewall_judge(NULL, &packet, &answer);
	assert_int_equal(answer.fate, P);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matches),	   cmocka_unit_test(test_sets_and_maps),
		cmocka_unit_test(test_chains),	   cmocka_unit_test(test_hooks),
		cmocka_unit_test(test_ingress),	   cmocka_unit_test(test_packets),
		cmocka_unit_test(test_no_ruleset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
