/* train_rules.c - learning rate, loss scale and batch size. */
#include "core/train_rules.h"

#include <math.h>

static const double scale_most = 0x1p24, scale_least = 1;

double vw_learning_rate(const vw_rate_schedule *c, double s)
{
    const double pi = 3.14159265358979323846;
    if (s < c->warmup)
        return c->peak * (s + 1) / (c->warmup + 1);
    if (c->decay == VW_DECAY_CONSTANT)
        return c->peak;
    if (s >= c->steps)
        return c->least;
    double done = (s - c->warmup) / (c->steps - c->warmup);
    double left = c->decay == VW_DECAY_LINEAR ? 1 - done : 0.5 * (1 + cos(pi * done));
    return c->least + (c->peak - c->least) * left;
}

int32_t vw_teacher_layer(int32_t layer, int32_t layers, int32_t teacher_layers, bool is_last)
{
    if (is_last || layers == 1)
        return teacher_layers - layers + layer;
    return (int32_t)((int64_t)layer * (teacher_layers - 1) / (layers - 1));
}

bool vw_loss_scale_update(vw_loss_scale *s, bool is_finite)
{
    if (s->interval == 0)
        return is_finite;
    if (!is_finite) {
        s->scale = fmax(s->scale / 2, scale_least);
        s->good = 0;
        return false;
    }
    if (++s->good >= s->interval) {
        s->scale = fmin(s->scale * 2, scale_most);
        s->good = 0;
    }
    return true;
}

void vw_batch_size_update(vw_batch_size *b, bool is_finite, bool is_clipped)
{
    if (b->stable == 0)
        return;
    if (!is_finite) {
        b->size = b->size / 2 > b->least ? b->size / 2 : b->least;
        b->good = 0;
    } else if (is_clipped) {
        b->good = 0;
    } else if (++b->good >= b->stable) {
        b->size = b->size < b->most / 2 ? 2 * b->size : b->most;
        b->good = 0;
    }
}
