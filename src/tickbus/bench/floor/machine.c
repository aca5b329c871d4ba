/* What the machine itself allows, without Python: the floors of the jobs across processes.
 *
 * usage: machine xadd N | ring N | spin N INTERVAL_NS | eventfd N INTERVAL_NS | futex N INTERVAL_NS
 * Prints one JSON object. Two processes: the publisher on the first core, the reader on the last.
 * Paced runs follow a schedule: the k-th event is due at start + k * interval, and its latency
 * counts from then, however late it was sent (no coordinated omission).
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 1 << 16, MASK = SLOTS - 1 };

typedef struct {
    _Alignas(128) _Atomic uint64_t written;
    _Alignas(128) _Atomic uint64_t taken;
    _Alignas(128) _Atomic uint32_t word;
    _Alignas(128) _Atomic uint64_t start_ns;
    _Alignas(128) _Atomic uint64_t sink;
    _Alignas(128) uint64_t events[SLOTS][4];
} Shared;

static Shared *shared;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int last) {
    cpu_set_t allowed, one;
    sched_getaffinity(0, sizeof allowed, &allowed);
    int chosen = -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && (chosen < 0 || last)) chosen = cpu;
    CPU_ZERO(&one);
    CPU_SET(chosen, &one);
    sched_setaffinity(0, sizeof one, &one);
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* "key": every 1/1000 quantile would be long; the caller wants these four. */
static void print_latency(const char *key, uint64_t *ns, long count) {
    qsort(ns, (size_t)count, sizeof *ns, ascending);
    printf("\"%s\": {\"p50\": %lu, \"p90\": %lu, \"p99\": %lu, \"p99.9\": %lu}", key, ns[count / 2],
           ns[count * 9 / 10], ns[count * 99 / 100], ns[count * 999 / 1000]);
}

static void xadd(long count) {
    pin(0);
    uint64_t start = now();
    for (long i = 0; i < count; i++) atomic_fetch_add_explicit(&shared->written, 1, memory_order_relaxed);
    printf("{\"ns\": %.3f}\n", (double)(now() - start) / (double)count);
}

/* 32-byte events through a single-producer single-consumer ring, both sides caching the other's index. */
static void ring(long count) {
    uint64_t total = (uint64_t)count;
    if (fork() == 0) {
        pin(1);
        uint64_t taken = 0, written = 0, sum = 0;
        while (taken < total) {
            while (taken == written) written = atomic_load_explicit(&shared->written, memory_order_acquire);
            for (; taken < written; taken++) {
                uint64_t *event = shared->events[taken & MASK];
                sum += event[0] + event[1] + event[2] + event[3];
            }
            atomic_store_explicit(&shared->taken, taken, memory_order_release);
        }
        atomic_store(&shared->sink, sum);
        _exit(sum != total * (total - 1) / 2 + total * 6);
    }
    pin(0);
    uint64_t start = now(), taken = 0;
    for (uint64_t i = 0; i < total; i++) {
        while (i - taken == SLOTS) taken = atomic_load_explicit(&shared->taken, memory_order_acquire);
        uint64_t *event = shared->events[i & MASK];
        event[0] = i, event[1] = 1, event[2] = 2, event[3] = 3;
        atomic_store_explicit(&shared->written, i + 1, memory_order_release);
    }
    int status;
    wait(&status);
    printf("{\"events_per_s\": %.0f}\n", (double)count * 1e9 / (double)(now() - start));
    if (status) exit(1);
}

enum Way { SPIN, EVENTFD, FUTEX };

static void await_event(enum Way way, int fd, uint64_t seen) {
    uint64_t buffer;
    if (way == EVENTFD && read(fd, &buffer, 8) != 8) _exit(2);
    while (atomic_load_explicit(&shared->written, memory_order_acquire) == seen)
        if (way == FUTEX) syscall(SYS_futex, &shared->word, FUTEX_WAIT, (uint32_t)seen, NULL, NULL, 0);
}

static void paced(enum Way way, long count, uint64_t interval) {
    int fd = eventfd(0, EFD_SEMAPHORE);
    size_t bytes = (size_t)count * sizeof(uint64_t);
    uint64_t *latency = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t *cost = malloc(bytes);
    if (fork() == 0) {
        pin(1);
        for (uint64_t i = 0; i < (uint64_t)count; i++) {
            await_event(way, fd, i);
            latency[i] = now() - (atomic_load(&shared->start_ns) + i * interval);
        }
        _exit(0);
    }
    pin(0);
    memset(cost, 0, bytes);
    uint64_t start = now() + 20000000;
    atomic_store(&shared->start_ns, start);
    for (uint64_t i = 0; i < (uint64_t)count; i++) {
        uint64_t due = start + i * interval, sent, one = 1;
        while ((sent = now()) < due) {}
        atomic_store_explicit(&shared->written, i + 1, memory_order_release);
        if (way == EVENTFD && write(fd, &one, 8) != 8) exit(2);
        if (way == FUTEX) {
            atomic_store(&shared->word, (uint32_t)(i + 1));
            syscall(SYS_futex, &shared->word, FUTEX_WAKE, 1, NULL, NULL, 0);
        }
        cost[i] = now() - sent;
    }
    int status;
    wait(&status);
    if (status) exit(1);
    printf("{");
    print_latency("latency_ns", latency, count);
    printf(", ");
    print_latency("waker_ns", cost, count);
    printf("}\n");
}

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 1;
    memset(shared, 0, sizeof *shared);
    long count = atol(argv[2]);
    uint64_t interval = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    if (!strcmp(argv[1], "xadd")) xadd(count);
    else if (!strcmp(argv[1], "ring")) ring(count);
    else if (!strcmp(argv[1], "spin")) paced(SPIN, count, interval);
    else if (!strcmp(argv[1], "eventfd")) paced(EVENTFD, count, interval);
    else if (!strcmp(argv[1], "futex")) paced(FUTEX, count, interval);
    else return 64;
    return 0;
}
