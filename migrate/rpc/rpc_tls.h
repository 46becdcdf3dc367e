/* SPDX-License-Identifier: Apache-2.0 */
/* rpc_tls.h - what a request says of TLS on the page-server protocol. As criu has it, the flag `tls` alone turns it on; the files that are not named
 * are where criu looks for them. Pure; the config borrows the options' strings. */
#ifndef DRAY_MIGRATE_RPC_TLS_H
#define DRAY_MIGRATE_RPC_TLS_H

#include "migrate/rpc/options.h"
#include "proto/base/tls.h"

struct tls_config rpc_tls_config(const CriuOpts *o);
/* The name that the other side's certificate must bear: of the address that is connected to, or, as criu has it, listened at. NULL: any. */
const char *rpc_tls_name(const CriuOpts *o, const char *address);

#endif
