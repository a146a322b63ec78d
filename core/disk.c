/* disk.c - the queue of reads, and the threads that do them where there is no ring.
 *
 * A read is cut into pieces as it is worked on, never before, so a queue of any length takes no
 * memory; a piece is long enough for the disk to be at its best and short enough for one read to
 * keep several of them under way.  The first read of the queue gets all hands: what was asked for
 * first is there first.
 */
#include "core/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/disk_ring.h"

enum { PIECE_BYTES = 1 << 20, MAX_DEPTH = 256, ENDS_EARLY = -1 };

typedef struct disk_file {
    char *path;
    int fd, plain_fd; /* plain: through the page cache; -1 until it is needed */
    bool is_direct;
} disk_file;

struct vw_disk {
    vw_core *core;
    vw_disk_options options;
    disk_file *files;
    int32_t n_files, file_room;

    pthread_mutex_t lock; /* of all below; the ring needs none, but for one rule takes it too */
    pthread_cond_t work, back;
    vw_disk_read *queue, **queue_end; /* with pieces that nobody has begun */
    vw_disk_read *done, **done_end;
    int32_t n_under_way; /* reads queued and not yet in `done` */
    uint64_t bytes;
    double seconds, busy_since;
    bool is_closing;

    vw_disk_piece *pieces; /* [depth] */
    vw_disk_ring *ring;    /* NULL: threads */
    int32_t n_pieces;      /* of the ring, under way */
    pthread_t *threads;    /* [depth] */
    int32_t n_threads;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- files ----------------------------------------------------------------------------------- */

vw_status vw_disk_file(vw_disk *d, const char *path, int32_t *file, vw_error *err)
{
    for (*file = 0; *file < d->n_files; ++*file)
        if (!strcmp(d->files[*file].path, path))
            return VW_OK;
    if (d->n_files == d->file_room) {
        int32_t room = 2 * d->file_room + 8;
        disk_file *grown = vw_core_alloc(d->core, (size_t)room * sizeof *grown);
        if (!grown)
            return vw_fail(err, VW_E_NOMEM, "no memory for a list of files");
        if (d->n_files)
            memcpy(grown, d->files, (size_t)d->n_files * sizeof *grown);
        vw_core_release(d->core, d->files);
        d->files = grown;
        d->file_room = room;
    }
    disk_file f = {.fd = -1, .plain_fd = -1, .is_direct = d->options.is_direct};
    if (f.is_direct)
        f.fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (f.fd < 0 && (!f.is_direct || errno == EINVAL)) {
        f.is_direct = false;
        f.fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (f.fd < 0)
        return vw_fail(err, VW_E_IO, "cannot open %s: %s", path, strerror(errno));
    size_t bytes = strlen(path) + 1;
    f.path = vw_core_alloc(d->core, bytes);
    if (!f.path) {
        close(f.fd);
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    }
    memcpy(f.path, path, bytes);
    d->files[d->n_files++] = f;
    return VW_OK;
}

/* Some file systems take O_DIRECT and then refuse the reads. */
static bool goes_plain(disk_file *f)
{
    if (!f->is_direct)
        return false;
    if (f->plain_fd < 0)
        f->plain_fd = open(f->path, O_RDONLY | O_CLOEXEC);
    f->is_direct = f->plain_fd < 0;
    return !f->is_direct;
}

static int fd_of(const disk_file *f)
{
    return f->plain_fd >= 0 ? f->plain_fd : f->fd;
}

/* ---- the queue; called with the lock held ---------------------------------------------------- */

static bool take_piece(vw_disk *d, vw_disk_piece *p)
{
    vw_disk_read *r = d->queue;
    if (!r)
        return false;
    *p = (vw_disk_piece){.read = r, .fd = fd_of(&d->files[r->file]), .offset = r->offset + r->begun,
                         .bytes = r->bytes - r->begun, .to = (char *)r->to + r->begun};
    if (p->bytes > PIECE_BYTES)
        p->bytes = PIECE_BYTES;
    r->begun += p->bytes;
    r->n_pieces++;
    if (r->begun == r->bytes) {
        d->queue = r->next;
        if (!d->queue)
            d->queue_end = &d->queue;
    }
    return true;
}

/* What a piece has brought, or a negative errno.  False: the rest of it is to be read. */
static bool piece_is_over(vw_disk *d, vw_disk_piece *p, int64_t result)
{
    vw_disk_read *r = p->read;
    uint64_t needed_to = r->offset + r->needed;
    if (result == -EINTR || result == -EAGAIN)
        return false;
    if (result == -EINVAL && goes_plain(&d->files[r->file])) {
        p->fd = fd_of(&d->files[r->file]);
        return false;
    }
    if (result > 0) {
        d->bytes += (uint64_t)result;
        p->offset += (uint64_t)result;
        p->to += result;
        p->bytes -= (size_t)result;
        if (p->bytes && p->offset < needed_to)
            return false;
    } else if (result < 0) {
        r->problem = (int)-result;
    } else if (p->offset < needed_to) {
        r->problem = ENDS_EARLY;
    }
    return true;
}

static void put_back(vw_disk *d, vw_disk_read *r)
{
    if (--r->n_pieces || r->begun < r->bytes)
        return;
    r->next = NULL;
    *d->done_end = r;
    d->done_end = &r->next;
    if (--d->n_under_way == 0)
        d->seconds += now() - d->busy_since;
    pthread_cond_signal(&d->back);
}

/* ---- threads --------------------------------------------------------------------------------- */

static int64_t read_some(const vw_disk_piece *p)
{
    ssize_t n = pread(p->fd, p->to, p->bytes, (off_t)p->offset);
    return n < 0 ? -errno : n;
}

static void *read_pieces(void *arg)
{
    vw_disk *d = arg;
    vw_disk_piece p;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (!d->is_closing && !d->queue)
            pthread_cond_wait(&d->work, &d->lock);
        if (!take_piece(d, &p))
            break;
        int64_t result;
        do {
            pthread_mutex_unlock(&d->lock);
            result = read_some(&p);
            pthread_mutex_lock(&d->lock);
        } while (!piece_is_over(d, &p, result));
        put_back(d, p.read);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static vw_status start_threads(vw_disk *d, vw_error *err)
{
    for (; d->n_threads < d->options.depth; d->n_threads++) {
        int reason = pthread_create(&d->threads[d->n_threads], NULL, read_pieces, d);
        if (reason && d->n_threads == 0)
            return vw_fail(err, VW_E_NOMEM, "no thread to read with: %s", strerror(reason));
        if (reason)
            break;
    }
    return VW_OK;
}

/* ---- the ring -------------------------------------------------------------------------------- */

static void fill_ring(vw_disk *d)
{
    bool is_new = false;
    for (int32_t i = 0; i < d->options.depth && d->queue; i++)
        if (!d->pieces[i].read && take_piece(d, &d->pieces[i])) {
            vw_disk_ring_read(d->ring, &d->pieces[i]);
            d->n_pieces++;
            is_new = true;
        }
    if (is_new)
        vw_disk_ring_submit(d->ring);
}

static void reap_ring(vw_disk *d, bool waits)
{
    int64_t result;
    vw_disk_piece *p;
    while (d->n_pieces && (p = vw_disk_ring_next(d->ring, waits && !d->done, &result))) {
        if (!piece_is_over(d, p, result)) {
            vw_disk_ring_read(d->ring, p);
            vw_disk_ring_submit(d->ring);
            continue;
        }
        d->n_pieces--;
        vw_disk_read *r = p->read;
        p->read = NULL;
        put_back(d, r);
        fill_ring(d);
    }
}

/* ---- the face -------------------------------------------------------------------------------- */

void vw_disk_begin(vw_disk *d, vw_disk_read *r)
{
    r->next = NULL;
    r->begun = 0;
    r->n_pieces = 0;
    r->problem = 0;
    pthread_mutex_lock(&d->lock);
    if (d->n_under_way++ == 0)
        d->busy_since = now();
    *d->queue_end = r;
    d->queue_end = &r->next;
    if (d->ring)
        fill_ring(d);
    else
        pthread_cond_broadcast(&d->work);
    pthread_mutex_unlock(&d->lock);
}

vw_disk_read *vw_disk_next(vw_disk *d, bool waits)
{
    pthread_mutex_lock(&d->lock);
    if (d->ring)
        reap_ring(d, waits);
    while (waits && !d->done && d->n_under_way)
        pthread_cond_wait(&d->back, &d->lock);
    vw_disk_read *r = d->done;
    if (r) {
        d->done = r->next;
        if (!d->done)
            d->done_end = &d->done;
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

vw_status vw_disk_explain(const vw_disk *d, const vw_disk_read *r, vw_error *err)
{
    const char *path = d->files[r->file].path;
    unsigned long long first = (unsigned long long)r->offset, end = first + r->needed;
    if (r->problem == ENDS_EARLY)
        return vw_fail(err, VW_E_IO, "%s: it ends before byte %llu and was longer when it was "
                       "opened", path, end);
    return vw_fail(err, VW_E_IO, "%s: bytes %llu to %llu cannot be read: %s", path, first, end,
                   strerror(r->problem));
}

void vw_disk_get_stats(vw_disk *d, vw_disk_stats *s)
{
    pthread_mutex_lock(&d->lock);
    *s = (vw_disk_stats){.method = d->ring ? "io_uring" : "pread", .is_direct = true,
                         .bytes = d->bytes, .seconds = d->seconds};
    if (d->n_under_way)
        s->seconds += now() - d->busy_since;
    for (int32_t i = 0; i < d->n_files; i++)
        s->is_direct = s->is_direct && d->files[i].is_direct;
    pthread_mutex_unlock(&d->lock);
}

vw_status vw_disk_open(vw_core *core, const vw_disk_options *options, vw_disk **disk, vw_error *err)
{
    vw_disk *d = vw_core_alloc(core, sizeof *d);
    vw_status st = VW_OK;
    if (!d)
        return vw_fail(err, VW_E_NOMEM, "no memory to read with");
    memset(d, 0, sizeof *d);
    d->core = core;
    d->options = *options;
    d->queue_end = &d->queue;
    d->done_end = &d->done;
    if (d->options.depth < 1 || d->options.depth > MAX_DEPTH)
        d->options.depth = d->options.depth < 1 ? 1 : MAX_DEPTH;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->work, NULL);
    pthread_cond_init(&d->back, NULL);
    size_t depth = (size_t)d->options.depth;
    d->pieces = vw_core_alloc(core, depth * sizeof *d->pieces);
    d->threads = vw_core_alloc(core, depth * sizeof *d->threads);
    if (!d->pieces || !d->threads)
        st = vw_fail(err, VW_E_NOMEM, "no memory for %zu reads", depth);
    else
        memset(d->pieces, 0, depth * sizeof *d->pieces);
    if (!st && !options->no_uring)
        d->ring = vw_disk_ring_new(core, d->options.depth);
    if (!st && !d->ring)
        st = start_threads(d, err);
    if (st) {
        vw_disk_close(d);
        return st;
    }
    *disk = d;
    return VW_OK;
}

void vw_disk_close(vw_disk *d)
{
    if (!d)
        return;
    while (vw_disk_next(d, true))
        ;
    pthread_mutex_lock(&d->lock);
    d->is_closing = true;
    pthread_cond_broadcast(&d->work);
    pthread_mutex_unlock(&d->lock);
    for (int32_t i = 0; i < d->n_threads; i++)
        pthread_join(d->threads[i], NULL);
    vw_disk_ring_free(d->core, d->ring);
    for (int32_t i = 0; i < d->n_files; i++) {
        close(d->files[i].fd);
        if (d->files[i].plain_fd >= 0)
            close(d->files[i].plain_fd);
        vw_core_release(d->core, d->files[i].path);
    }
    pthread_cond_destroy(&d->work);
    pthread_cond_destroy(&d->back);
    pthread_mutex_destroy(&d->lock);
    vw_core_release(d->core, d->files);
    vw_core_release(d->core, d->pieces);
    vw_core_release(d->core, d->threads);
    vw_core_release(d->core, d);
}
