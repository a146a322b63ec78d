/* disk_ring.c - io_uring through liburing. */
#include "core/disk_ring.h"

#ifdef HAVE_LIBURING

#include <liburing.h>

struct vw_disk_ring {
    struct io_uring uring;
};

vw_disk_ring *vw_disk_ring_new(vw_core *core, int32_t depth)
{
    vw_disk_ring *r = vw_core_alloc(core, sizeof *r);
    if (r && io_uring_queue_init((unsigned)depth, &r->uring, 0) == 0)
        return r;
    vw_core_release(core, r);
    return NULL;
}

void vw_disk_ring_free(vw_core *core, vw_disk_ring *r)
{
    if (r)
        io_uring_queue_exit(&r->uring);
    vw_core_release(core, r);
}

/* The ring has an entry for every piece, so there is always one. */
void vw_disk_ring_read(vw_disk_ring *r, vw_disk_piece *p)
{
    struct io_uring_sqe *e = io_uring_get_sqe(&r->uring);
    if (!e) { /* entries that the system has not taken yet */
        io_uring_submit(&r->uring);
        e = io_uring_get_sqe(&r->uring);
    }
    io_uring_prep_read(e, p->fd, p->to, (unsigned)p->bytes, p->offset);
    io_uring_sqe_set_data(e, p);
}

void vw_disk_ring_submit(vw_disk_ring *r)
{
    io_uring_submit(&r->uring);
}

vw_disk_piece *vw_disk_ring_next(vw_disk_ring *r, bool waits, int64_t *result)
{
    struct io_uring_cqe *c = NULL;
    if (io_uring_peek_cqe(&r->uring, &c) || !c) {
        while (waits && io_uring_submit_and_wait(&r->uring, 1) < 0)
            ;
        if (!waits || io_uring_peek_cqe(&r->uring, &c) || !c)
            return NULL;
    }
    vw_disk_piece *p = io_uring_cqe_get_data(c);
    *result = c->res;
    io_uring_cqe_seen(&r->uring, c);
    return p;
}

#else

vw_disk_ring *vw_disk_ring_new(vw_core *core, int32_t depth)
{
    (void)core;
    (void)depth;
    return NULL;
}

void vw_disk_ring_free(vw_core *core, vw_disk_ring *ring)
{
    (void)core;
    (void)ring;
}

void vw_disk_ring_read(vw_disk_ring *ring, vw_disk_piece *piece)
{
    (void)ring;
    (void)piece;
}

void vw_disk_ring_submit(vw_disk_ring *ring)
{
    (void)ring;
}

vw_disk_piece *vw_disk_ring_next(vw_disk_ring *ring, bool waits, int64_t *result)
{
    (void)ring;
    (void)waits;
    (void)result;
    return NULL;
}

#endif
