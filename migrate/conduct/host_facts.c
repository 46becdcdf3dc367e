/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/host_facts.h"

#include <cpuid.h>
#include <unistd.h>
#include <xxhash.h>

#include "migrate/mm/vma.h"

static int digest_vdso(uint64_t *digest, struct err *e)
{
	struct vma_list l = { 0 };

	*digest = 0;
	if (vma_list_read(&l, getpid(), VMA_READ_MAPS, e) < 0)
		return -1;
	for (size_t i = 0; i < l.count; i++)
		if (l.vma[i].kind == VMA_VDSO)
			*digest = XXH3_64bits((const void *)(uintptr_t)l.vma[i].start, l.vma[i].end - l.vma[i].start);
	vma_list_finish(&l);
	return 0;
}

/* CPUID leaf 0xd, sub-leaf 0 (Intel SDM vol. 1, 13.2): eax:edx the features, ebx the size for those enabled in XCR0. */
static void read_xsave(struct host_facts *f)
{
	unsigned a, b, c, d, low = 0, high = 0;

	if (!__get_cpuid_count(0xd, 0, &a, &b, &c, &d))
		return;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	f->xfeatures = (uint64_t)high << 32 | low;
	f->xsave_size = b;
}

int host_facts_read(struct host_facts *f, struct err *e)
{
	*f = (struct host_facts){ .page_size = (uint32_t)sysconf(_SC_PAGESIZE) };
	read_xsave(f);
	return digest_vdso(&f->vdso_digest, e);
}

int host_facts_check(const Drayage__Offer *offer, struct err *e)
{
	struct host_facts here;

	if (host_facts_read(&here, e) < 0)
		return -1;
	if (offer->page_size != here.page_size)
		return err_set(e, ERR_MISMATCH, 0, "page size %u at the source, %u here", offer->page_size, here.page_size);
	if (offer->vdso_digest != here.vdso_digest)
		return err_set(e, ERR_MISMATCH, 0, "the kernel's vdso differs between the hosts: the same kernel build is needed on both");
	if (offer->xfeatures & ~here.xfeatures)
		return err_set(e, ERR_MISMATCH, 0, "the source's CPU has register state (XCR0 bits %#llx) that this one lacks",
			       (unsigned long long)(offer->xfeatures & ~here.xfeatures));
	if (offer->xsave_size > here.xsave_size)
		return err_set(e, ERR_MISMATCH, 0, "register state of %u bytes at the source, %u here", offer->xsave_size, here.xsave_size);
	return 0;
}
