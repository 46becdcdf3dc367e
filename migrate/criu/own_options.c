/* SPDX-License-Identifier: Apache-2.0 */
/* The options of criu's command line that have no field in criu_opts. */
#include "migrate/criu/command.h"

#define D RPC_OP_DUMP
#define P RPC_OP_PRE_DUMP
#define R RPC_OP_RESTORE
#define S RPC_OP_PAGE_SERVER
#define C RPC_OP_CHECK
#define SERVICE CRIU_OP_SERVICE
#define SWRK CRIU_OP_SWRK
#define LAZY CRIU_OP_LAZY_PAGES
#define FIELD(name) offsetof(struct criu_command, name)

const struct criu_own_option criu_own_options[] = {
	{ "work-dir", 'W', "DIR", CRIU_OPS_ALL, CRIU_STRING, FIELD(work_dir), RPC_WORKS,
	  "Where logs, PID files and statistics go. Default: the images directory." },
	{ "restore-detached", 'd', NULL, R, CRIU_FLAG, FIELD(detach), RPC_WORKS,
	  "Ends once the tree is restored. Without it the command ends when the root does, with its exit status." },
	{ "daemon", 'd', NULL, S | SERVICE, CRIU_FLAG, FIELD(detach), RPC_WORKS, "Goes on in the background once the socket listens." },
	{ "pidfile", 0, "FILE", R | S | SERVICE, CRIU_STRING, FIELD(pidfile), RPC_WORKS,
	  "Gets the PID of the restored root, the page server or the service. Relative to the work directory; must not exist." },
	{ "action-script", 0, "FILE", D | R | SWRK, CRIU_LIST, FIELD(scripts), RPC_WORKS,
	  "A program that is run at every stage, which CRTOOLS_SCRIPT_ACTION names: pre-dump, post-dump, pre-restore, post-restore, pre-resume, "
	  "post-resume. It also finds CRTOOLS_IMAGE_DIR and, where there is a root, CRTOOLS_INIT_PID. Another exit status than 0 ends a dump or "
	  "a restore that can still end. Any number of them, run in the order given." },
	{ "page-server", 0, NULL, D | P | LAZY, CRIU_FLAG, FIELD(page_server), RPC_WORKS,
	  "Pages go to the page server at --address and --port; with lazy-pages they come from the lazy dump, or the page server with "
	  "lazy-pages, there. Without it a dump that is told of one by its command line is refused (by dray) or warns (under the name criu)." },
	{ "address", 0, "ADDRESS", D | P | S | SERVICE | LAZY, CRIU_STRING, FIELD(address), RPC_WORKS,
	  "Of the page server; of the service: the path of its socket." },
	{ "port", 0, "PORT", D | P | S | LAZY, CRIU_NUMBER, FIELD(port), RPC_WORKS, "Of the page server." },
	{ "ps-socket", 0, "FD", D | P | S | LAZY, CRIU_NUMBER, FIELD(ps_socket), RPC_WORKS,
	  "A connected socket to or from the page server, instead of --address and --port." },
	{ "ps-protocol", 0, "auto|stock|native", D | P | SWRK, CRIU_STRING, FIELD(ps_protocol), RPC_WORKS,
	  "How a page server is spoken to: as Drayage speaks where it is one of ours, else as criu (auto, the default); as criu whatever it is (stock); as "
	  "Drayage or not at all (native)." },
	{ "streams", 0, "N", D | P | SWRK, CRIU_NUMBER, FIELD(streams), RPC_WORKS,
	  "Connections to a page server of ours, 1 to 16; 1 is the default. Each is made anew when it is cut." },
	{ "ps-layout", 0, "24|32", D | P | SWRK | LAZY, CRIU_NUMBER, FIELD(ps_layout), RPC_WORKS,
	  "Bytes of a header of the page server, or of who has the pages: 24 up to criu 4.1, 32 from 4.2 on; Drayage takes either. A dump that is not told "
	  "asks the server, lazy-pages takes it for 24." },
	{ "status-fd", 0, "FD", S | SERVICE | LAZY, CRIU_NUMBER, FIELD(status_fd), RPC_WORKS, "Gets a NUL byte, and is closed, once the socket listens." },
	{ "feature", 0, "NAME", C, CRIU_STRING, FIELD(feature), RPC_WORKS, "Checks this one alone. The name list lists them." },
	{ "all", 0, NULL, C, CRIU_FLAG, FIELD(check_all), RPC_WORKS, "Checks also what only some trees need." },
	{ "extra", 0, NULL, C, CRIU_FLAG, FIELD(check_all), RPC_WORKS, "The same as --all." },
	{ "experimental", 0, NULL, C, CRIU_FLAG, FIELD(check_all), RPC_WORKS, "The same as --all." },
	{ "engine", 0, "NAME", D | P | R | SWRK, CRIU_STRING, FIELD(engine), RPC_WORKS,
	  "Who does it: native; criu, the one that is installed beside this program; or auto, native where it can carry everything, else criu if its "
	  "own check is content. What is chosen by auto is said on standard error. Default: what DRAY_ENGINE says, else auto." },
	{ "criu", 0, "PATH", D | P | R | SWRK, CRIU_STRING, FIELD(criu), RPC_WORKS,
	  "The criu that is meant. Default: what DRAY_CRIU says, else the first of that name in PATH that is not this program." },
	{ "no-default-config", 0, NULL, CRIU_OPS_ALL, CRIU_FLAG, FIELD(no_default_config), RPC_WORKS,
	  "Leaves /etc/criu/default.conf and $HOME/.criu/default.conf unread." },
	{ "close", 0, "FD", CRIU_OPS_ALL, CRIU_LIST, FIELD(close_fds), RPC_WORKS, "Closes this descriptor before anything else." },
	{ "stream", 0, NULL, D | R, CRIU_FLAG, FIELD(stream), RPC_REFUSED, "Images are files in a directory here. Leave it out." },
	{ "log-pid", 0, NULL, CRIU_OPS_ALL, CRIU_LIST, FIELD(ignored), RPC_ACCEPTED, "There is one log." },
	{ "libdir", 'L', "DIR", CRIU_OPS_ALL, CRIU_LIST, FIELD(ignored), RPC_ACCEPTED, "There are no plugins." },
	{ "file-validation", 0, "METHOD", D | R, CRIU_LIST, FIELD(ignored), RPC_ACCEPTED,
	  "Files are compared by build ID where they have one and by size else, whatever the method." },
	{ .name = NULL },
};
