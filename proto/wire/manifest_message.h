/* SPDX-License-Identifier: Apache-2.0 */
/* manifest_message.h - a manifest as control messages carry it, and back. Pure; any thread. */
#ifndef DRAY_WIRE_MANIFEST_MESSAGE_H
#define DRAY_WIRE_MANIFEST_MESSAGE_H

#include "control.pb-c.h"
#include "proto/wire/manifest.h"

static inline Drayage__Manifest manifest_to_message(const struct manifest *m)
{
	Drayage__Manifest out = DRAYAGE__MANIFEST__INIT;

	out.low = m->low;
	out.high = m->high;
	out.pages = m->pages;
	return out;
}

static inline struct manifest manifest_from_message(const Drayage__Manifest *m)
{
	return (struct manifest){ .low = m->low, .high = m->high, .pages = m->pages };
}

#endif
