/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials and capabilities of one thread, by calls of its own (the kernel keeps them by thread; it is the C library that spreads them).
 *
 * Order: inheritable set while the bounding set is whole; bounding set; groups and ids with "no setuid fixup", so that a change of ids
 * takes no capability away; ambient set; secure bits; at last the sets themselves. A parent-death signal is not restored: it was to tell
 * of the end of a parent that stays at the source, and would now tell of the end of the mover. */
#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "migrate/native/rebuild_priv.h"

enum { CAPS = 64, MAX_GROUPS = 65536 };
#define SECURE_MOVING (SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS)

struct caps { uint64_t inh, prm, eff, bnd, amb; };

static uint64_t words(size_t n, const uint32_t *w)
{
	return (n > 0 ? w[0] : 0) | (n > 1 ? (uint64_t)w[1] << 32 : 0);
}

static struct caps wanted(const CredsEntry *c)
{
	return (struct caps){ words(c->n_cap_inh, c->cap_inh), words(c->n_cap_prm, c->cap_prm), words(c->n_cap_eff, c->cap_eff),
			      words(c->n_cap_bnd, c->cap_bnd), words(c->n_cap_amb, c->cap_amb) };
}

static void set_caps(struct outside *o, uint64_t inh, uint64_t prm, uint64_t eff, uint32_t tid, const char *what)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { (uint32_t)eff, (uint32_t)prm, (uint32_t)inh },
						  { (uint32_t)(eff >> 32), (uint32_t)(prm >> 32), (uint32_t)(inh >> 32) } };

	uint64_t at = batch_put(o, &head, sizeof(head));

	batch_call(o, REMOTE_CALL(SYS_capset, at, batch_put(o, data, sizeof(data))), "thread %u: %s", tid, what);
}

/* What every thread has until now: our own, asked for once. */
static int learn_caps(struct outside *o)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 } };
	struct remote_call bounding[CAPS];
	uint64_t at;

	if (o->caps_known)
		return 0;
	batch_room(o, CAPS + 1, 128);
	at = batch_put(o, &head, sizeof(head));
	batch_call(o, REMOTE_CALL(SYS_capget, at, batch_put(o, data, sizeof(data))), "our capabilities");
	at += (sizeof(head) + 15) & ~(uint64_t)15;
	for (uint64_t cap = 0; cap < CAPS; cap++)
		batch_ask(o, REMOTE_TRY(SYS_prctl, PR_CAPBSET_READ, cap), &bounding[cap], "our bounding set");
	if (batch_flush(o) < 0 || remote_read(o->r->pid, at, data, sizeof(data), o->e) < 0)
		return -1;
	o->caps_permitted = words(2, (uint32_t[]){ data[0].permitted, data[1].permitted });
	for (unsigned cap = 0; cap < CAPS; cap++)
		o->caps_bounding |= bounding[cap].ret == 1 ? UINT64_C(1) << cap : 0;
	o->caps_known = true;
	return 0;
}

static int check_caps(struct outside *o, const struct caps *want, uint32_t tid)
{
	uint64_t lacking = (want->prm | want->inh | want->amb) & ~o->caps_permitted;

	if (!lacking)
		return 0;
	return err_set(o->e, ERR_PERMISSION, 0, "thread %u: it has capabilities %#llx, which are not to be had here", tid, (unsigned long long)lacking);
}

static void set_ids(struct outside *o, const CredsEntry *c, uint32_t tid)
{
	batch_call(o, REMOTE_CALL(SYS_setgroups, c->n_groups, c->n_groups ? batch_put(o, c->groups, c->n_groups * sizeof(uint32_t)) : 0),
		   "thread %u: %zu groups", tid, c->n_groups);
	batch_call(o, REMOTE_CALL(SYS_setresgid, c->gid, c->egid, c->sgid), "thread %u: gid %u", tid, c->gid);
	batch_call(o, REMOTE_CALL(SYS_setfsgid, c->fsgid), "thread %u: fsgid", tid);
	batch_call(o, REMOTE_CALL(SYS_setresuid, c->uid, c->euid, c->suid), "thread %u: uid %u", tid, c->uid);
	batch_call(o, REMOTE_CALL(SYS_setfsuid, c->fsuid), "thread %u: fsuid", tid);
}

int outside_creds(struct outside *o, size_t i)
{
	const CredsEntry *c = o->task->threads[i]->thread_core->creds;
	uint32_t tid = o->task->ps->threads[i];
	struct caps want = wanted(c);
	uint64_t setpcap = UINT64_C(1) << CAP_SETPCAP;

	o->thread = i;
	if (c->n_groups > MAX_GROUPS)
		return err_set(o->e, ERR_PROTOCOL, 0, "thread %u: %zu groups", tid, c->n_groups);
	if (learn_caps(o) < 0 || check_caps(o, &want, tid) < 0)
		return -1;
	batch_room(o, 2 * CAPS + 16, 1024 + c->n_groups * sizeof(uint32_t));
	set_caps(o, want.inh, o->caps_permitted, o->caps_permitted, tid, "inheritable capabilities");
	/* What our own bounding set lacks can't be given back; nothing that the thread holds depends on it. */
	for (uint64_t cap = 0; cap < CAPS; cap++)
		if (o->caps_bounding >> cap & 1 && !(want.bnd >> cap & 1))
			batch_call(o, REMOTE_CALL(SYS_prctl, PR_CAPBSET_DROP, cap), "thread %u: bounding set, capability %d", tid, (int)cap);
	batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_SECUREBITS, SECURE_MOVING), "thread %u: secure bits", tid);
	set_ids(o, c, tid);
	set_caps(o, want.inh, want.prm | setpcap, want.eff | setpcap, tid, "capabilities");
	batch_call(o, REMOTE_CALL(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0), "thread %u: ambient capabilities", tid);
	for (uint64_t cap = 0; cap < CAPS; cap++)
		if (want.amb >> cap & 1)
			batch_call(o, REMOTE_CALL(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0), "thread %u: ambient capability %d", tid, (int)cap);
	batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_SECUREBITS, c->secbits), "thread %u: secure bits %#x", tid, c->secbits);
	set_caps(o, want.inh, want.prm, want.eff, tid, "capabilities");
	if (c->has_no_new_privs && c->no_new_privs)
		batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1), "thread %u: no new privileges", tid);
	batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_PDEATHSIG, 0), "thread %u: parent-death signal", tid); /* the husk's own, until now */
	return batch_flush(o);
}
