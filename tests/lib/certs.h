/* SPDX-License-Identifier: Apache-2.0 */
/* certs.h - a directory of certificates (make-certs) for C tests, made once a process and removed at its exit. Skips (77) without openssl. */
#ifndef DRAY_TESTS_CERTS_H
#define DRAY_TESTS_CERTS_H

#include "proto/base/tls.h"

const char *certs_dir(void);
/* DIR/NAME.pem; from a small ring of static buffers. */
const char *certs_path(const char *name, const char *suffix);
/* Credentials of NAME, trusting CA, both as make-certs calls them. */
struct tls_config certs_of(const char *name, const char *ca);
/* A cmocka group's setup: makes them, and says of the log what is an error only: refusals are what such tests are about. */
int certs_setup(void **state);

#endif
