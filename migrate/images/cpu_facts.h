/* SPDX-License-Identifier: Apache-2.0 */
/* cpu_facts.h - what a processor can do, as CRIU's images put it (capability version 2), and whether one can do what another could.
 *
 * A capability is a bit of 19 words; most words are a register of a CPUID leaf (Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E). Layout,
 * and the bits that are left out, are those of the files that criu 3.17.1 writes and accepts on processors of both vendors.
 * Pure but for cpu_facts_read. Threads: any. */
#ifndef DRAY_MIGRATE_CPU_FACTS_H
#define DRAY_MIGRATE_CPU_FACTS_H

#include <stdint.h>

#include "images.pb-c.h"
#include "proto/base/err.h"

enum { CPU_WORDS = 19, CPU_WORDS_V1 = 12, CPU_CAPABILITY_VERSION = 2 };

/* What is compared: bits of criu_opts.cpu_cap. */
enum cpu_cap {
	CPU_CAP_FPU = 1,   /* extended register state: features and sizes */
	CPU_CAP_CPU = 2,   /* every capability, bit for bit */
	CPU_CAP_INS = 4,   /* instructions that programs use: none may be missing */
	CPU_CAP_IMAGE = 8, /* not a comparison: a dump writes the image, a restore looks at it */
	CPU_CAP_DEFAULT = CPU_CAP_FPU | CPU_CAP_INS,
	CPU_CAP_ALL = 15,
};

struct cpu_facts {
	uint32_t vendor; /* 1 Intel, 2 AMD, 0 another one */
	uint32_t family, model, stepping;
	uint32_t words; /* that hold something: CPU_WORDS, or CPU_WORDS_V1 of an old image */
	uint32_t word[CPU_WORDS];
	uint64_t xfeatures; /* XCR0 without SSE and BNDREGS */
	uint32_t xsave_size, xsave_size_max; /* bytes: of what is enabled, of what the processor has */
	char name[49];
};

void cpu_facts_read(struct cpu_facts *f); /* this processor */

/* ERR_MISMATCH that names all that is missing here, or what differs. */
int cpu_facts_compare(const struct cpu_facts *image, const struct cpu_facts *here, unsigned caps, struct err *e);

/* The message, whose pointers go into facts and into m itself. */
struct cpu_message { CpuinfoEntry entry; CpuinfoX86Entry x86; CpuinfoX86Entry *list; };
void cpu_facts_pack(struct cpu_facts *f, struct cpu_message *m);
int cpu_facts_unpack(const CpuinfoEntry *entry, struct cpu_facts *f, struct err *e); /* ERR_PROTOCOL */

#endif
