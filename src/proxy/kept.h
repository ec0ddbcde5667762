/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that outlive the worker, and the helper.
 *
 * Theory of operation
 *
 * The helper has a table of descriptors by name. The worker puts there what a successor cannot
 * get again from anybody: of a vhost-user link the connection, the guest's memory, kick and
 * call descriptors and the journal (journal.h); and listening sockets, so that nobody who
 * connects while there is no worker is refused.
 *
 *	the worker dies		The helper forks a new one, which has the table because the
 *				helper has it. It takes what it knows; amp_kept_settle() drops the
 *				rest.
 *	upgrade			The worker ends in good order, the helper executes the program file
 *				anew with the table's descriptors open and the names in a sealed
 *				memory file, whose number is in the environment.
 *	the helper dies		If a service manager watches us (NOTIFY_SOCKET), it was given each
 *				descriptor as it was put (FDSTORE=1, FDNAME=ampsock-NAME), and the next
 *				helper gets them back among LISTEN_FDS.
 *
 * A name contains the sequence number of what it names and is never used for two things. What
 * changes is put under its new name first, then the record that speaks of it is written, then
 * the old name is dropped: whenever the worker dies, each name in the record is there.
 *
 * A Unix socket that the helper made has the identity of its file, device and inode, in its name:
 * so every later helper, after an exec or from the service manager's store, knows the file that is
 * its own to serve and to remove from one that somebody has put in its place.
 *
 * A TCP or UDP socket that a service manager has passed says so by its name. It is lent to the worker, and
 * stays in the table when its rule goes, so that a program after an exec, which is passed nothing, is as
 * the one before: it does not end the socket with the rule, and has it for the rule that comes back. From
 * the manager's store it does not come: the manager passes its sockets itself.
 *
 * Nothing that comes from the table is believed: each user checks what it takes, as it would
 * check what a guest or another process had sent.
 */
#ifndef AMP_PROXY_KEPT_H
#define AMP_PROXY_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define AMP_KEPT_NAME 64u   /* its NUL included; letters, digits, `-`, `_`, `.` and `+` */
#define AMP_KEPT_MAX  8192u /* descriptors: 256 links with all that they can have */

/* The environment variable that says where the table of a helper before this exec is. */
#define AMP_KEPT_ENV "AMPSOCK_KEPT_FD"

bool amp_kept_name_ok(const char *name);

/* ---- the table: in the helper, and as it was at the fork in the worker ---- */

/* fd is the table's from now on; the name's former descriptor is closed. 0 or -errno (closed). */
int amp_kept_add(const char *name, int fd);
/* Closes it. False: there is none. */
bool amp_kept_remove(const char *name);
/* Out of the table and the caller's from now on; -1: none. */
int amp_kept_take(const char *name);
bool amp_kept_has(const char *name);
/* Calls fn for each name. fn may not change the table. */
void amp_kept_each(void (*fn)(const char *name, int fd, void *ctx), void *ctx);
/* Closes all. */
void amp_kept_clear(void);

/* ---- the helper ---- */

/*
 * What there is at start: from the helper before the exec, or from the service manager. Takes
 * its variable out of the environment. Descriptors of the service manager that are not ours
 * (no name ampsock-...) stay as they are. Returns how many; complains in the log.
 */
unsigned amp_kept_load(void);
/* A memory file with the table, and its descriptors made to survive exec(). -errno. */
int amp_kept_save(void);
/*
 * A filter of system calls stays with the process over exec(), and another that is laid upon it
 * costs each call of every later program: so its number goes along, and the same is not laid twice.
 */
void amp_kept_filter(uint64_t id);
bool amp_kept_has_filter(uint64_t id);
/* Close-on-exec again, if the exec failed. */
void amp_kept_unsave(void);
/* To the service manager, if there is one. */
void amp_kept_store(const char *name, int fd);
void amp_kept_unstore(const char *name);
/* All of them, with the files of sockets, and the table is empty: nobody is to go on. */
void amp_kept_forget(void);

/* Which file a socket's is. */
struct amp_kept_file {
	uint64_t dev, ino;
};
/* 0 or -errno, of the socket's file at path; -ENOTSOCK: something else is there. */
int amp_kept_file_at(const char *path, struct amp_kept_file *file);
/* Is it still there? */
bool amp_kept_file_stands(const char *path, const struct amp_kept_file *file);

/*
 * Unix sockets listen here, in the helper, on the worker's behalf: a duplicate of one that
 * listens at un already, or -1; keep a duplicate of one; not any more. file: what we made; NULL: it
 * is the service manager's, and so is its file.
 */
int amp_kept_unix(const struct sockaddr_un *un, struct amp_kept_file *file);
void amp_kept_keep_unix(const struct sockaddr_un *un, int fd, const struct amp_kept_file *file);
void amp_kept_drop_unix(const struct sockaddr_un *un, bool given);
/* A worker begins; it has asked for all that it wants: those that it did not ask for go, and
 * their files. */
void amp_kept_unused(void);
void amp_kept_sweep(void);

/* ---- the worker ---- */

/* Have the helper keep a duplicate of fd, or not any more. */
void amp_kept_put(const char *name, int fd);
void amp_kept_drop(const char *name);
/* What nobody has taken is nobody's: all links are started. */
void amp_kept_settle(void);

/*
 * Listening and bound sockets: a kept one of this type at this address, checked, or -1; and put
 * one there. Names are made of the address.
 */
int amp_kept_take_socket(int type, const struct sockaddr *sa, socklen_t len);
void amp_kept_put_socket(int fd);
/* The same of a service manager's. */
void amp_kept_put_lent(int fd);
/*
 * The same of one whose port the kernel chooses: what it is for, in words (at most AMP_KEPT_WHAT bytes),
 * is its name, and the successor has the port, too. Several may be for the same: they have numbers, and of
 * AMP_KEPT_SAME in a row may be free again.
 */
#define AMP_KEPT_SAME 64u
#define AMP_KEPT_WHAT 256u
int amp_kept_take_any(int type, const struct sockaddr *sa, const char *what);
void amp_kept_put_any(int fd, const char *what);
/* Of either kind, before it is closed for good. */
void amp_kept_drop_socket(int fd);

#endif /* AMP_PROXY_KEPT_H */
