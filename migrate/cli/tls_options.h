/* SPDX-License-Identifier: Apache-2.0 */
/* tls_options.h - the rows of a verb whose connections may be TLS, named as criu names them. config: the verb's struct, which has a
 * struct tls_config `field`. names: what --tls-allow and --tls-no-cn-verify mean there, a sentence each. */
#ifndef DRAY_MIGRATE_TLS_OPTIONS_H
#define DRAY_MIGRATE_TLS_OPTIONS_H

#include "migrate/cli/opt.h"
#include "proto/base/tls.h"

#define TLS_FILE_OPTIONS(config, field)                                                                                              \
	{ .name = "tls", .type = OPT_FLAG, .offset = offsetof(config, field.on),                                                     \
	  .help = "Talk TLS with the files below, each side showing a certificate. Naming one of the files does too." },             \
	{ .name = "tls-cacert", .type = OPT_STRING, .offset = offsetof(config, field.cacert), .argument = "FILE",                    \
	  .help = "Certificates, in PEM, of the authorities that sign the peers'. Without it: " TLS_DEFAULT_CACERT "." },            \
	{ .name = "tls-cacrl", .type = OPT_STRING, .offset = offsetof(config, field.cacrl), .argument = "FILE",                      \
	  .help = "What those have revoked. Without it: " TLS_DEFAULT_CACRL " if it is there." },                                    \
	{ .name = "tls-cert", .type = OPT_STRING, .offset = offsetof(config, field.cert), .argument = "FILE",                        \
	  .help = "The certificate of this host, with those between it and its authority. Without it: " TLS_DEFAULT_CERT "." },      \
	{ .name = "tls-key", .type = OPT_STRING, .offset = offsetof(config, field.key), .argument = "FILE",                          \
	  .help = "Its key. Without it: " TLS_DEFAULT_KEY "." }
#define TLS_ALLOW_OPTION(config, field, text)                                                                                        \
	{ .name = "tls-allow", .type = OPT_STRING, .offset = offsetof(config, field.allow), .argument = "NAME[,NAME]...", .help = text }
#define TLS_NO_CHECK_OPTION(config, field, text)                                                                                     \
	{ .name = "tls-no-cn-verify", .type = OPT_FLAG, .offset = offsetof(config, field.no_name_check), .help = text }

/* Whether they go together; for the verb's own check. ERR_USAGE, the options named. */
int tls_options_check(const struct tls_config *c, struct err *e);

/* For verbs that connect to a host by its name. */
#define TLS_CLIENT_OPTIONS(config, field)                                                                                            \
	TLS_FILE_OPTIONS(config, field),                                                                                             \
	TLS_ALLOW_OPTION(config, field, "Names of which the destination's certificate must bear one, instead of the name that it is connected to by."), \
	TLS_NO_CHECK_OPTION(config, field, "Take a destination of any name that the authority has signed.")

#endif
