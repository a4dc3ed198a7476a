/* Writes down, in order, what a program does to files of one folder: what a disk would be told.
 *
 * Loaded by LD_PRELOAD; JOURNAL_ROOT is the folder, JOURNAL the file that gets the records (see journal.py).
 * A change is written down before the system call's effect can be seen by others, a sync after it came back, with
 * the place in the journal where it began: only what was written before that is sure to be on the disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536
#define REAL(name) ((__typeof__(&name))real(#name))

struct record {
  char op;
  uint64_t file, place;
  uint32_t first, second;
  uint64_t size;
} __attribute__((packed));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static int journal = -1;
static unsigned char ours[FDS];

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (!found) abort();
  return found;
}

__attribute__((constructor)) static void begin(void) {
  const char *folder = getenv("JOURNAL_ROOT"), *path = getenv("JOURNAL");
  if (!folder || !path) return;
  snprintf(root, sizeof root, "%s/", folder);
  journal = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (journal < 0) abort();
  /* A number that programs do not close when they close all that they inherited up to it. */
  int high = fcntl(journal, F_DUPFD_CLOEXEC, 1000);
  if (high < 0) abort();
  syscall(SYS_close, journal);
  journal = high;
}

static int within(const char *path) {
  return journal >= 0 && !strncmp(path, root, strlen(root));
}

static int tracked(int fd) { return fd >= 0 && fd < FDS && ours[fd]; }

static uint64_t inode(int fd) {
  struct stat found;
  return syscall(SYS_fstat, fd, &found) ? 0 : found.st_ino;
}

static void note(char op, uint64_t file, uint64_t place, const char *first, const char *second, const void *data,
                 size_t size) {
  struct record head = {op, file, place, first ? strlen(first) : 0, second ? strlen(second) : 0, size};
  struct iovec parts[] = {{&head, sizeof head},
                          {(void *)(first ? first : ""), head.first},
                          {(void *)(second ? second : ""), head.second},
                          {(void *)data, size}};
  ssize_t want = sizeof head + head.first + head.second + size;
  if (syscall(SYS_writev, journal, parts, 4) != want) abort();
}

static uint64_t here(void) {
  struct stat found;
  if (syscall(SYS_fstat, journal, &found)) abort();
  return found.st_size;
}

static int opened(int at, const char *path, int flags, mode_t mode) {
  char whole[PATH_MAX];
  if (path[0] == '/' || at != AT_FDCWD || !getcwd(whole, sizeof whole)) {
    snprintf(whole, sizeof whole, "%s", path);
  } else {
    size_t used = strlen(whole);
    snprintf(whole + used, sizeof whole - used, "/%s", path);
  }
  if (!within(whole)) return syscall(SYS_openat, at, path, flags, mode);
  pthread_mutex_lock(&lock);
  int made = (flags & O_CREAT) && faccessat(AT_FDCWD, whole, F_OK, AT_SYMLINK_NOFOLLOW);
  int fd = syscall(SYS_openat, at, path, flags, mode);
  if (fd >= 0 && fd < FDS) {
    ours[fd] = 1;
    if (made) note('C', inode(fd), 0, whole, 0, 0, 0);
    else if (flags & O_TRUNC) note('T', inode(fd), 0, 0, 0, 0, 0);
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

#define MODE(flags, last)                                   \
  mode_t mode = 0;                                          \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {                  \
    va_list rest;                                           \
    va_start(rest, last);                                   \
    mode = va_arg(rest, mode_t);                            \
    va_end(rest);                                           \
  }

int open(const char *path, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(at, path, flags, mode); }

int close(int fd) {
  if (tracked(fd)) ours[fd] = 0;
  return syscall(SYS_close, fd);
}

static ssize_t put(int fd, const void *data, size_t size, off_t place, int at_place) {
  pthread_mutex_lock(&lock);
  if (!at_place) {
    int flags = fcntl(fd, F_GETFL);
    place = lseek(fd, 0, (flags & O_APPEND) ? SEEK_END : SEEK_CUR);
  }
  ssize_t done = at_place ? syscall(SYS_pwrite64, fd, data, size, place) : syscall(SYS_write, fd, data, size);
  if (done > 0) note('W', inode(fd), place, 0, 0, data, done);
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t write(int fd, const void *data, size_t size) {
  return tracked(fd) ? put(fd, data, size, 0, 0) : syscall(SYS_write, fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t place) {
  return tracked(fd) ? put(fd, data, size, place, 1) : syscall(SYS_pwrite64, fd, data, size, place);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) { return pwrite(fd, data, size, place); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (!tracked(fd)) return syscall(SYS_writev, fd, parts, count);
  ssize_t all = 0;
  for (int k = 0; k < count; k++) {
    ssize_t done = put(fd, parts[k].iov_base, parts[k].iov_len, 0, 0);
    if (done < 0) return all ? all : done;
    all += done;
    if ((size_t)done < parts[k].iov_len) break;
  }
  return all;
}

int ftruncate(int fd, off_t size) {
  if (!tracked(fd)) return syscall(SYS_ftruncate, fd, size);
  pthread_mutex_lock(&lock);
  int failed = syscall(SYS_ftruncate, fd, size);
  if (!failed) note('T', inode(fd), size, 0, 0, 0, 0);
  pthread_mutex_unlock(&lock);
  return failed;
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

static int synced(int fd, long call) {
  if (!tracked(fd)) return syscall(call, fd);
  uint64_t began = here();
  int failed = syscall(call, fd);
  struct stat found;
  if (failed || syscall(SYS_fstat, fd, &found)) return failed;
  char path[PATH_MAX] = "", link[64];
  if (S_ISDIR(found.st_mode)) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) abort();
    path[size] = 0;
  }
  pthread_mutex_lock(&lock);
  note('S', found.st_ino, began, path, 0, 0, 0);
  pthread_mutex_unlock(&lock);
  return failed;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

#define NAMES(call, op, first, second)                \
  if (!within(first)) return call;                    \
  pthread_mutex_lock(&lock);                          \
  int failed = call;                                  \
  if (!failed) note(op, 0, 0, first, second, 0, 0);   \
  pthread_mutex_unlock(&lock);                        \
  return failed;

int rename(const char *old, const char *new) { NAMES(REAL(rename)(old, new), 'R', old, new) }
int renameat(int a, const char *old, int b, const char *new) { NAMES(REAL(renameat)(a, old, b, new), 'R', old, new) }
int link(const char *old, const char *new) { NAMES(REAL(link)(old, new), 'L', old, new) }
int linkat(int a, const char *old, int b, const char *new, int flags) {
  NAMES(REAL(linkat)(a, old, b, new, flags), 'L', old, new)
}
int unlink(const char *path) { NAMES(REAL(unlink)(path), 'U', path, 0) }
int unlinkat(int at, const char *path, int flags) { NAMES(REAL(unlinkat)(at, path, flags), 'U', path, 0) }
int mkdir(const char *path, mode_t mode) { NAMES(REAL(mkdir)(path, mode), 'M', path, 0) }
int mkdirat(int at, const char *path, mode_t mode) { NAMES(REAL(mkdirat)(at, path, mode), 'M', path, 0) }
