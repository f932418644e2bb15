/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Plan to BPF C. The program is a set of parts, each emitted once and behind the parts it needs, so
 * that only what these rules need is there. Most parts are templates, emitted as they are; the
 * written ones depend on the plan, and each has its writer here: first it names what it needs, then
 * it writes itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "emit.h"
#include "emit_stages.h"
#include "parts.h"
#include "plan.h"
#include "text.h"
#include "version.h"

struct emission {
	const struct plan *plan;
	FILE *out;
	bool emitted[PARTS];
	int error;
};

static void need(struct emission *e, enum part_id id);

/* ---- the two IP families --------------------------------------------------------------------- */

/* A function that is another one for each family, by the packet's version of IP. */
struct by_family {
	const char *type, *name;
	const char *parameters; /* of its definition */
	const char *arguments;	/* handed on */
	enum part_id ipv4, ipv6;
	bool is_void;
};

/* Where there is one family there is nothing to ask of the packet, unless it is handed on. */
static void write_unasked(struct emission *e, const char *arguments)
{
	if (!(e->plan->ipv4 && e->plan->ipv6) && !strstr(arguments, "packet"))
		fputs("\t(void)packet; /* its version of IP is known */\n", e->out);
}

static void write_by_family(struct emission *e, const struct by_family *f)
{
	const struct plan *plan = e->plan;
	const char *hand_back = f->is_void ? "" : "return ";

	fprintf(e->out, "static __always_inline %s%s%s(%s)\n{\n", f->type,
		f->type[strlen(f->type) - 1] == '*' ? "" : " ", f->name, f->parameters);
	write_unasked(e, f->arguments);
	if (plan->ipv4 && plan->ipv6)
		fputs("\tif (packet->version == 4)\n\t", e->out);
	if (plan->ipv4)
		fprintf(e->out, "\t%s%s_ipv4(%s);\n", hand_back, f->name, f->arguments);
	if (plan->ipv4 && plan->ipv6 && f->is_void)
		fputs("\telse\n\t", e->out);
	if (plan->ipv6)
		fprintf(e->out, "\t%s%s_ipv6(%s);\n", hand_back, f->name, f->arguments);
	fputs("}\n", e->out);
}

static void by_family(struct emission *e, struct by_family f)
{
	if (e->plan->ipv4)
		need(e, f.ipv4);
	if (e->plan->ipv6)
		need(e, f.ipv6);
	write_by_family(e, &f);
}

static void write_from_client(struct emission *e)
{
	by_family(e, (struct by_family){
			     .type = "void",
			     .name = "from_client",
			     .parameters = "const struct packet *packet, __be16 server_port,\n"
					   "\t\t\t\t\tstruct bpf_sock_tuple *tuple",
			     .arguments = "packet, server_port, tuple",
			     .ipv4 = PART_from_client_ipv4,
			     .ipv6 = PART_from_client_ipv6,
			     .is_void = true,
		     });
}

static void write_from_server(struct emission *e)
{
	by_family(e, (struct by_family){
			     .type = "void",
			     .name = "from_server",
			     .parameters = "const struct packet *packet, __be16 server_port,\n"
					   "\t\t\t\t\tstruct bpf_sock_tuple *tuple",
			     .arguments = "packet, server_port, tuple",
			     .ipv4 = PART_from_server_ipv4,
			     .ipv6 = PART_from_server_ipv6,
			     .is_void = true,
		     });
}

static void write_address_sum(struct emission *e)
{
	by_family(e, (struct by_family){
			     .type = "__u64",
			     .name = "address_sum",
			     .parameters = "const struct packet *packet,\n"
					   "\t\t\t\t\t const struct bpf_sock_tuple *tuple",
			     .arguments = "tuple",
			     .ipv4 = PART_address_sum_ipv4,
			     .ipv6 = PART_address_sum_ipv6,
		     });
}

static void write_listener_tuple(struct emission *e)
{
	by_family(e, (struct by_family){
			     .type = "void",
			     .name = "listener_tuple",
			     .parameters = "const struct packet *packet, __u16 port,\n"
					   "\t\t\t\t\t   struct bpf_sock_tuple *tuple",
			     .arguments = "port, tuple",
			     .ipv4 = PART_listener_tuple_ipv4,
			     .ipv6 = PART_listener_tuple_ipv6,
			     .is_void = true,
		     });
}

static void write_cookie_hash(struct emission *e)
{
	by_family(e, (struct by_family){
			     .type = "__u32",
			     .name = "cookie_hash",
			     .parameters = "const struct packet *packet,\n"
					   "\t\t\t\t\t const struct connection *connection, "
					   "__u32 isn,\n"
					   "\t\t\t\t\t __u64 window_options",
			     .arguments = "&connection->tuple, isn, window_options",
			     .ipv4 = PART_cookie_hash_ipv4,
			     .ipv6 = PART_cookie_hash_ipv6,
		     });
}

static void write_mss(struct emission *e)
{
	struct by_family own = {
		.type = "__u16",
		.name = "own_mss",
		.parameters = "const struct packet *packet",
		.arguments = "",
		.ipv4 = PART_mss_ipv4,
		.ipv6 = PART_mss_ipv6,
	};
	struct by_family cookie = own, index = own;

	cookie.name = "cookie_mss";
	cookie.parameters = "const struct packet *packet, __u32 index";
	cookie.arguments = "index";
	index.type = "__u32";
	index.name = "cookie_mss_index";
	index.parameters = "const struct packet *packet, __u16 mss";
	index.arguments = "mss";
	by_family(e, own);
	fputc('\n', e->out);
	by_family(e, cookie);
	fputc('\n', e->out);
	by_family(e, index);
}

static void write_recent_flow(struct emission *e)
{
	struct by_family fold = {
		.type = "__u64",
		.name = "fold_addresses",
		.parameters = "const struct packet *packet",
		.arguments = "packet",
		.ipv4 = PART_recent_flow_ipv4,
		.ipv6 = PART_recent_flow_ipv6,
	};
	struct by_family has = fold, copy = fold;

	has.type = "bool";
	has.name = "has_addresses";
	has.parameters = "const struct recent_flow *recent,\n"
			 "\t\t\t\t\t  const struct packet *packet";
	has.arguments = "recent, packet";
	copy.type = "void";
	copy.name = "copy_addresses";
	copy.parameters = "struct recent_flow *recent,\n"
			  "\t\t\t\t\t   const struct packet *packet";
	copy.arguments = "recent, packet";
	copy.is_void = true;
	by_family(e, fold);
	fputc('\n', e->out);
	by_family(e, has);
	fputc('\n', e->out);
	by_family(e, copy);
}

static void write_is_martian(struct emission *e)
{
	by_family(e, (struct by_family){
			     .type = "bool",
			     .name = "is_martian",
			     .parameters = "const struct packet *packet",
			     .arguments = "packet",
			     .ipv4 = PART_is_martian_ipv4,
			     .ipv6 = PART_is_martian_ipv6,
		     });
}

static void write_next_hop(struct emission *e)
{
	by_family(e, (struct by_family){
			     .type = "bool",
			     .name = "next_hop",
			     .parameters = "const struct packet *packet, "
					   "const struct connection *connection,\n"
					   "\t\t\t\t     struct answer *answer",
			     .arguments = "packet, connection, answer",
			     .ipv4 = PART_next_hop_ipv4,
			     .ipv6 = PART_next_hop_ipv6,
		     });
}

static void write_answer_tcp(struct emission *e)
{
	by_family(e, (struct by_family){
			     .type = "bool",
			     .name = "answer_tcp",
			     .parameters = "struct packet *packet, "
					   "const struct connection *connection,\n"
					   "\t\t\t\t       const struct answer *answer",
			     .arguments = "packet, connection, answer",
			     .ipv4 = PART_answer_tcp_ipv4,
			     .ipv6 = PART_answer_tcp_ipv6,
		     });
}

static void write_quote(struct emission *e)
{
	by_family(e, (struct by_family){
			     .type = "bool",
			     .name = "quote",
			     .parameters = "const struct packet *packet, struct packet *quote",
			     .arguments = "packet, quote",
			     .ipv4 = PART_quote_ipv4,
			     .ipv6 = PART_quote_ipv6,
		     });
}

static void write_tuple_size(struct emission *e)
{
	const struct plan *plan = e->plan;

	need(e, PART_packet);
	need(e, PART_tuple);
	fputs("static __always_inline __u32 tuple_size(const struct packet *packet)\n{\n", e->out);
	write_unasked(e, "");
	if (plan->ipv4 && plan->ipv6)
		fputs("\tif (packet->version == 4)\n\t", e->out);
	if (plan->ipv4)
		fputs("\treturn sizeof(((struct bpf_sock_tuple *)0)->ipv4);\n", e->out);
	if (plan->ipv6)
		fputs("\treturn sizeof(((struct bpf_sock_tuple *)0)->ipv6);\n", e->out);
	fputs("}\n", e->out);
}

static void write_parse(struct emission *e)
{
	need(e, PART_parse_ethernet);
	if (e->plan->ipv4)
		need(e, PART_parse_ipv4);
	if (e->plan->ipv6)
		need(e, PART_parse_ipv6);
	fputs("/* Reads the frame up to the ports. False: it is not IP, or ends before them. */\n"
	      "static __always_inline bool parse(struct packet *packet)\n{\n"
	      "\t__be16 type;\n\n"
	      "\tif (!parse_ethernet(packet, &type))\n\t\treturn false;\n",
	      e->out);
	if (e->plan->ipv4)
		fputs("\tif (type == bpf_htons(ETH_P_IP))\n\t\treturn parse_ipv4(packet);\n",
		      e->out);
	if (e->plan->ipv6)
		fputs("\tif (type == bpf_htons(ETH_P_IPV6))\n\t\treturn parse_ipv6(packet);\n",
		      e->out);
	fputs("\treturn false;\n}\n", e->out);
}

static void write_parse_rest(struct emission *e)
{
	by_family(e, (struct by_family){
			     .type = "void",
			     .name = "parse_rest",
			     .parameters = "struct packet *packet",
			     .arguments = "packet",
			     .ipv4 = PART_parse_rest_ipv4,
			     .ipv6 = PART_parse_rest_ipv6,
			     .is_void = true,
		     });
}

/* The context's type is only known to the program: XDP's or TC's. */
static void write_extensions(struct emission *e)
{
	bool tc = e->plan->tcp || e->plan->tracked || e->plan->stateless;

	need(e, PART_packet);
	need(e, PART_extensions_xdp);
	if (tc)
		need(e, PART_extensions_tc);
	fputs("static __always_inline __u32 extensions(const struct packet *packet, __u64 offset,\n"
	      "\t\t\t\t\t__u32 protocol)\n{\n",
	      e->out);
	if (tc)
		fputs("\tif (packet->tc)\n"
		      "\t\treturn extensions_tc(packet->context, offset, protocol);\n",
		      e->out);
	fputs("\treturn extensions_xdp(packet->context, offset, protocol);\n}\n", e->out);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static void write_reasons(struct emission *e)
{
	need(e, PART_kernel);
	emit_constants(e->plan, e->out);
}

static void write_find_listener(struct emission *e)
{
	const struct plan *plan = e->plan;

	need(e, PART_reasons);
	need(e, PART_own_mac);
	if (plan->rules->listener_count > 1)
		need(e, PART_unknown);
	if (plan->udp)
		need(e, PART_group_mac);
	if (plan->local && plan->ipv4)
		need(e, PART_local_ipv4);
	if (plan->local && plan->ipv6)
		need(e, PART_local_ipv6);
	emit_find_listener(plan, e->out);
}

/* Which loads the judges use is known once they are written. */
static void write_judges(struct emission *e)
{
	static const struct {
		const char *call;
		enum part_id part;
	} loads[] = {
		{"load_u8(", PART_load_u8},
		{"load_u16(", PART_load_u16},
		{"load_u32(", PART_load_u32},
		{"load_u64(", PART_load_u64},
	};
	const struct plan *plan = e->plan;
	struct text judges = {0};
	FILE *out = text_open(&judges);

	if (out)
		emit_judges(plan, out);
	e->error = text_close(out, &judges);
	if (e->error)
		return;
	need(e, PART_packet);
	need(e, PART_reasons);
	need(e, PART_verdict);
	if (plan->branch_free)
		need(e, PART_choose);
	for (size_t i = 0; i < sizeof(loads) / sizeof(*loads); i++)
		if (strstr(judges.bytes, loads[i].call))
			need(e, loads[i].part);
	if (plan->tcp)
		need(e, PART_first_segment);
	if (plan->judge_functions)
		need(e, PART_packed_verdict);
	for (size_t i = 0; i < plan->rules->listener_count; i++) {
		const struct listener *listener = &plan->rules->listeners[i];

		if (is_deep(0, listener_end(listener)))
			need(e, PART_payload_bytes);
	}
	fwrite(judges.bytes, 1, judges.size, e->out);
	free(judges.bytes);
}

static void write_datagram_verdict(struct emission *e)
{
	need(e, PART_judges);
	emit_datagram_verdict(e->plan, e->out);
}

static void write_payload_verdict(struct emission *e)
{
	need(e, PART_judges);
	need(e, PART_packed_verdict);
	emit_payload_verdict(e->plan, e->out);
}

/* ---- what becomes of a packet ---------------------------------------------------------------- */

static void write_receive_udp(struct emission *e)
{
	const struct plan *plan = e->plan;

	need(e, PART_datagram_verdict);
	need(e, PART_capture);
	need(e, PART_observe);
	if (plan->branch_free)
		need(e, PART_steer);
	else if (plan->readdress)
		need(e, PART_readdress);
	if (plan->tracked)
		need(e, PART_track);
	if (plan->stateless)
		need(e, PART_reply_ports);
	fputs("/* A UDP datagram to a listen port. */\n"
	      "static __always_inline int receive_udp(struct packet *packet, "
	      "struct verdict *verdict)\n{\n"
	      "\tdatagram_verdict(packet, verdict);\n"
	      "\tcapture_packet(packet, verdict);\n"
	      "\tif (mplex_observe)\n\t\treturn XDP_PASS;\n",
	      e->out);
	if (plan->branch_free) {
		fputs("\treturn steer(packet, verdict->port);\n}\n", e->out);
		return;
	}
	fputs("\tif (!verdict->port)\n\t\treturn XDP_DROP;\n", e->out);
	if (plan->readdress)
		fputs("\tif (verdict->port == bpf_ntohs(packet->dport))\n\t\treturn XDP_PASS;\n",
		      e->out);
	emit_replies(plan, e->out);
	if (plan->readdress)
		fputs("\treaddress(packet, verdict->port);\n", e->out);
	fputs("\treturn XDP_PASS;\n}\n", e->out);
}

static void write_receive(struct emission *e)
{
	const struct plan *plan = e->plan;

	if (plan->tcp) {
		need(e, PART_parse_tcp);
		need(e, PART_receive_tcp);
	}
	if (plan->udp) {
		need(e, PART_parse_udp);
		need(e, PART_receive_udp);
	}
	need(e, PART_capture);
	need(e, PART_observe);
	fputs("/* From here on the packet is ours: whatever is wrong with it is refused. */\n"
	      "static __always_inline int receive(struct packet *packet, struct verdict *verdict)\n"
	      "{\n"
	      "\tverdict->reason = REASON_FRAGMENT;\n"
	      "\tif (!packet->fragment) {\n"
	      "\t\tverdict->reason = REASON_MALFORMED;\n",
	      e->out);
	if (plan->tcp)
		fprintf(e->out,
			"\t\tif (%sparse_tcp(packet))\n"
			"\t\t\treturn receive_tcp(packet, verdict);\n",
			plan->udp ? "packet->protocol == IPPROTO_TCP && " : "");
	if (plan->udp)
		fprintf(e->out,
			"\t\tif (%sparse_udp(packet))\n"
			"\t\t\treturn receive_udp(packet, verdict);\n",
			plan->tcp ? "packet->protocol == IPPROTO_UDP && " : "");
	fputs("\t}\n"
	      "\tcapture_packet(packet, verdict);\n"
	      "\treturn mplex_observe ? XDP_PASS : XDP_DROP;\n}\n",
	      e->out);
}

/* ---- the programs ---------------------------------------------------------------------------- */

static void write_mplex_xdp(struct emission *e)
{
	need(e, PART_parse);
	need(e, PART_parse_rest);
	need(e, PART_find_listener);
	need(e, PART_receive);
	need(e, PART_count);
	fputs("/* Not ours: passed as it is. Ours: judged, steered, answered or refused, and counted. */\n"
	      "SEC(\"xdp.frags\")\n"
	      "int mplex_xdp(struct xdp_md *xdp)\n{\n"
	      "\tstruct packet packet = {\n"
	      "\t\t.context = xdp,\n"
	      "\t\t.data = (void *)(long)xdp->data,\n"
	      "\t\t.data_end = (void *)(long)xdp->data_end,\n\t};\n"
	      "\tstruct verdict verdict = {};\n"
	      "\tint action;\n\n"
	      "\tif (!parse(&packet) || !find_listener(&packet))\n\t\treturn XDP_PASS;\n"
	      "\tparse_rest(&packet);\n"
	      "\taction = receive(&packet, &verdict);\n"
	      "\tcount(&packet, &verdict);\n"
	      "\treturn action;\n}\n",
	      e->out);
}

static void write_tc_program(struct emission *e, const char *name, const char *body)
{
	fprintf(e->out,
		"SEC(\"tc\")\n"
		"int %s(struct __sk_buff *skb)\n{\n"
		"\tstruct packet packet = {\n"
		"\t\t.context = skb,\n"
		"\t\t.tc = true,\n"
		"\t\t.data = (void *)(long)skb->data,\n"
		"\t\t.data_end = (void *)(long)skb->data_end,\n\t};\n\n"
		"\tif (!parse(&packet))\n\t\treturn TC_ACT_UNSPEC;\n"
		"%s"
		"\treturn TC_ACT_UNSPEC;\n}\n",
		name, body);
}

static void write_mplex_ingress(struct emission *e)
{
	static const char tcp[] = "\tif (packet.protocol == IPPROTO_TCP)\n"
				  "\t\treturn hand_over(skb, &packet);\n";
	static const char icmp[] = "\tturn_error_in(skb, &packet);\n";
	char body[sizeof(tcp) + sizeof(icmp)];

	need(e, PART_skb);
	need(e, PART_parse);
	if (e->plan->tcp)
		need(e, PART_hand_over);
	if (e->plan->tracked)
		need(e, PART_turn_error_in);
	snprintf(body, sizeof(body), "%s%s", e->plan->tcp ? tcp : "", e->plan->tracked ? icmp : "");
	write_tc_program(e, "mplex_ingress", body);
}

static void write_mplex_egress(struct emission *e)
{
	static const char head[] = "\tif (packet.protocol == IPPROTO_UDP) {\n"
				   "\t\t__u32 port = get_reply_port(packet.sport);\n\n";
	static const char look_up[] = "\t\tif (port == REPLIES_TRACKED)\n"
				      "\t\t\tport = tracked_port(&packet);\n";
	static const char turn[] = "\t\tif (port)\n"
				   "\t\t\tturn_reply(skb, &packet, port);\n";
	static const char error[] = "\t} else {\n"
				    "\t\tturn_error_out(skb, &packet);\n";
	bool tracked = e->plan->tracked;
	char body[sizeof(head) + sizeof(look_up) + sizeof(turn) + sizeof(error) + 8];

	need(e, PART_skb);
	need(e, PART_parse);
	need(e, PART_reply_ports);
	need(e, PART_turn_reply);
	if (tracked) {
		need(e, PART_tracked_port);
		need(e, PART_turn_error_out);
	}
	snprintf(body, sizeof(body), "%s%s%s%s\t}\n", head, tracked ? look_up : "", turn,
		 tracked ? error : "");
	write_tc_program(e, "mplex_egress", body);
}

/* ---- putting it together --------------------------------------------------------------------- */

static void (*const writers[PARTS])(struct emission *) = {
	[PART_address_sum] = write_address_sum,
	[PART_answer_tcp] = write_answer_tcp,
	[PART_cookie_hash] = write_cookie_hash,
	[PART_extensions] = write_extensions,
	[PART_find_listener] = write_find_listener,
	[PART_from_client] = write_from_client,
	[PART_from_server] = write_from_server,
	[PART_is_martian] = write_is_martian,
	[PART_datagram_verdict] = write_datagram_verdict,
	[PART_payload_verdict] = write_payload_verdict,
	[PART_judges] = write_judges,
	[PART_listener_tuple] = write_listener_tuple,
	[PART_mplex_egress] = write_mplex_egress,
	[PART_mplex_ingress] = write_mplex_ingress,
	[PART_mplex_xdp] = write_mplex_xdp,
	[PART_mss] = write_mss,
	[PART_next_hop] = write_next_hop,
	[PART_parse] = write_parse,
	[PART_parse_rest] = write_parse_rest,
	[PART_quote] = write_quote,
	[PART_reasons] = write_reasons,
	[PART_recent_flow] = write_recent_flow,
	[PART_receive] = write_receive,
	[PART_receive_udp] = write_receive_udp,
	[PART_tuple_size] = write_tuple_size,
};

/* Emits a part, unless it is there already. */
static void need(struct emission *e, enum part_id id)
{
	if (e->emitted[id])
		return;
	e->emitted[id] = true;
	if (writers[id]) {
		writers[id](e);
	} else {
		for (unsigned i = 0; i < parts[id].need_count; i++)
			need(e, parts[id].needs[i]);
		fputs(parts[id].text, e->out);
	}
	fputc('\n', e->out);
}

static void write_sha256(const uint8_t *sha256, FILE *out)
{
	for (size_t i = 0; i < 32; i++)
		fprintf(out, "%02x", sha256[i]);
}

static void write_header(const struct plan *plan, FILE *out)
{
	const struct rules *rules = plan->rules;

	fputs("// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause\n/*\n", out);
	fprintf(out,
		" * Made by mplexc " MPLEX_VERSION " from %s. To change it, change the rules.\n",
		rules->file);
	fputs(" * SHA-256 of the rules: ", out);
	write_sha256(rules->sha256, out);
	fputs("\n *\n", out);
	for (size_t i = 0; i < rules->listener_count; i++) {
		const struct listener *listener = &rules->listeners[i];

		fprintf(out, " * %s: %s%s%s port %u, messages of ", listener->name,
			listener->protocols & PROTOCOL_TCP ? "tcp" : "",
			listener->protocols == (PROTOCOL_TCP | PROTOCOL_UDP) ? " and " : "",
			listener->protocols & PROTOCOL_UDP ? "udp" : "", listener->port);
		if (listener->length_min != listener->length_max)
			fprintf(out, "%u to ", listener->length_min);
		fprintf(out, "%u bytes, %zu route%s by the %u byte%s at %u\n", listener->length_max,
			listener->route_count, listener->route_count == 1 ? "" : "s",
			listener->tag.length, listener->tag.length == 1 ? "" : "s",
			listener->tag.offset);
	}
	fputs(" *\n"
	      " * Read it from the end: the programs stand last, each function behind what it calls.\n"
	      " */\n\n",
	      out);
}

static void write_metadata(const struct plan *plan, FILE *out)
{
	fputs("const volatile char bpf_metadata_mplex_version[] = \"" MPLEX_VERSION "\";\n"
	      "const volatile char bpf_metadata_rules_sha256[] =\n\t\"",
	      out);
	write_sha256(plan->rules->sha256, out);
	fputs("\";\n\nchar LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";\n\n", out);
}

int emit(const struct plan *plan, FILE *out)
{
	struct emission e = {.plan = plan, .out = out};

	write_header(plan, out);
	need(&e, PART_kernel);
	need(&e, PART_reasons);
	need(&e, PART_mplex_xdp);
	if (plan->tcp || plan->tracked)
		need(&e, PART_mplex_ingress);
	if (plan->tracked || plan->stateless)
		need(&e, PART_mplex_egress);
	write_metadata(plan, out);
	return emit_manifest(plan, out) ?: e.error;
}
