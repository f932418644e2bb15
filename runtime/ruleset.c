/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the firewall's rules. libnftables is opened only here and only when it is wanted: a host
 * without a firewall, or a container, runs mplex without having it.
 */
#include <dlfcn.h>
#include <errno.h>

#include <jansson.h>
#include <linux/capability.h>
#include <nftables/libnftables.h>

#include "error.h"
#include "firewall.h"
#include "rights.h"
#include "scope.h"

static void scoped_dlclose(void **library)
{
	if (*library)
		dlclose(*library);
}

/* The functions of the library that are used. */
struct nftables {
	__typeof__(nft_ctx_new) *new;
	__typeof__(nft_ctx_free) *free;
	__typeof__(nft_ctx_buffer_output) *buffer_output;
	__typeof__(nft_ctx_buffer_error) *buffer_error;
	__typeof__(nft_ctx_get_output_buffer) *output;
	__typeof__(nft_ctx_output_set_flags) *set_flags;
	__typeof__(nft_run_cmd_from_buffer) *run;
};

static bool find_functions(void *library, struct nftables *out)
{
	*out = (struct nftables){
		.new = dlsym(library, "nft_ctx_new"),
		.free = dlsym(library, "nft_ctx_free"),
		.buffer_output = dlsym(library, "nft_ctx_buffer_output"),
		.buffer_error = dlsym(library, "nft_ctx_buffer_error"),
		.output = dlsym(library, "nft_ctx_get_output_buffer"),
		.set_flags = dlsym(library, "nft_ctx_output_set_flags"),
		.run = dlsym(library, "nft_run_cmd_from_buffer"),
	};
	return out->new && out->free && out->buffer_output && out->buffer_error && out->output &&
	       out->set_flags && out->run;
}

static int list_ruleset(const struct nftables *nft, struct nft_ctx *context, json_t **out)
{
	json_t *ruleset;

	nft->set_flags(context, NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_HANDLE);
	if (nft->buffer_output(context) || nft->buffer_error(context) ||
	    nft->run(context, "list ruleset"))
		return -EIO;
	ruleset = json_loads(nft->output(context), 0, NULL);
	if (!ruleset)
		return -EINVAL;
	*out = ruleset;
	return 0;
}

int firewall_read(struct json_t **out, char *error, size_t n)
{
	SCOPED(scoped_dlclose) void *library = dlopen("libnftables.so.1", RTLD_NOW);
	struct nftables nft;
	struct nft_ctx *context;
	int err;

	/* The library would complain to standard error by itself. */
	if (!rights_have(CAP_NET_ADMIN))
		return failed(error, n, EPERM,
			      "the firewall's rules cannot be read without CAP_NET_ADMIN");
	if (!library)
		return failed(
			error, n, ENOENT,
			"the firewall's rules cannot be read without libnftables: install the "
			"package nftables");
	if (!find_functions(library, &nft))
		return failed(error, n, ENOSYS, "this libnftables lacks a function");
	context = nft.new(NFT_CTX_DEFAULT);
	if (!context)
		return failed(error, n, ENOMEM, "out of memory");
	err = list_ruleset(&nft, context, out);
	nft.free(context);
	return err ? failed(error, n, -err, "libnftables cannot list the firewall's rules") : 0;
}
