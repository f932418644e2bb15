/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What this process may do. */
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "rights.h"

bool rights_have(int capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	return !syscall(SYS_capget, &header, data) &&
	       data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability);
}
