/* SPDX-License-Identifier: Apache-2.0 */
/* packet.h - one message a packet over SOCK_SEQPACKET: receive whole, send whole. Descriptors that come along are never taken in.
 * Threads: one reader and one writer a socket. Fails: negative errno. */
#ifndef DRAY_MIGRATE_RPC_PACKET_H
#define DRAY_MIGRATE_RPC_PACKET_H

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>
#include <sys/types.h>

/* A request of 0.2 MB was seen, with long lists of mounts. The length is known before memory is taken for it. */
enum { RPC_PACKET_MAX = 4 << 20 };

/* Waits up to timeout_ms (-1: for ever) for the next packet. Its length with *buf owned by the caller; 0: the other side is gone, or sent an
 * empty packet, which means the same; -ETIMEDOUT; -EMSGSIZE above the cap. */
ssize_t rpc_recv(int sock, int timeout_ms, uint8_t **buf);
/* The same, and the packet stays for the next receive; rpc_drop takes it away. */
ssize_t rpc_peek(int sock, int timeout_ms, uint8_t **buf);
void rpc_drop(int sock);
/* Sends one message, with the descriptor pass_fd (borrowed) unless that is -1. 0 or -errno; never raises SIGPIPE. */
int rpc_send(int sock, const ProtobufCMessage *message, int pass_fd);

#endif
