/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/images/cpuinfo.h"

#include <errno.h>

#include "proto/image/image.h"

int cpuinfo_dump(int images_dir, struct err *e)
{
	struct cpu_message m;
	struct cpu_facts f;

	cpu_facts_read(&f);
	cpu_facts_pack(&f, &m);
	return image_write_one(images_dir, IMAGE_CPUINFO, 0, &m.entry.base, e);
}

int cpuinfo_check(int images_dir, unsigned caps, struct err *e)
{
	ProtobufCMessage *entry = image_read_one(images_dir, IMAGE_CPUINFO, 0, &cpuinfo_entry__descriptor, e);
	struct cpu_facts image, here;
	int rc;

	if (!entry)
		return e->kind == ERR_GONE ? err_set(e, ERR_SYSTEM, ENOENT, "cpuinfo.img, which cpuinfo dump writes") : -1;
	cpu_facts_read(&here);
	rc = cpu_facts_unpack((const CpuinfoEntry *)entry, &image, e);
	if (rc == 0)
		rc = cpu_facts_compare(&image, &here, caps, e);
	protobuf_c_message_free_unpacked(entry, NULL);
	return rc != 0 ? err_wrap(e, "cpuinfo.img") : 0;
}
