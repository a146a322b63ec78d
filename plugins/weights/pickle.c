/* pickle.c - see pickle.h.
 *
 * Nodes are what instructions push: numbers, words, names, places of bytes, tuples of nodes, and
 * objects (a name, its arguments, its state).  A tuple that numpy would make an array of is noticed
 * where it is made:
 *
 *     (version, (shape ...), dtype, is_column_major, bytes)   protocols 3 and 4
 *     (bytes, dtype, (shape ...), "C")                        protocol 5
 *
 * whatever is wrapped around it.  Stack, memo and nodes are small and fixed: a head that needs more
 * is none of these files.  Nothing here recurses, so a tuple that holds itself is harmless.
 */
#include "plugins/weights/pickle.h"

enum { MAX_NODES = 512, MAX_ITEMS = 1024, MAX_STACK = 128, MAX_MEMO = 512 };

typedef enum node_kind {
    NODE_MARK, NODE_NONE, NODE_BOOL, NODE_INT, NODE_TEXT, NODE_BYTES, NODE_NAME, NODE_TUPLE,
    NODE_DICT, NODE_OBJECT
} node_kind;

typedef struct node {
    node_kind kind;
    int64_t value;     /* a BOOL, an INT */
    size_t at, bytes;  /* in the file: TEXT, BYTES, and the last word of a NAME */
    int item, n_items; /* TUPLE: its nodes; OBJECT: name, arguments, state (-1: none yet) */
} node;

typedef struct scan {
    const unsigned char *file;
    const char *path;
    size_t bytes, pos, op; /* op: where the instruction began */
    node nodes[MAX_NODES];
    int items[MAX_ITEMS], stack[MAX_STACK], memo[MAX_MEMO];
    int n_nodes, n_items, n_stack, n_memo;
    pickle_array *arrays;
    int n_arrays;
    vw_error *err;
} scan;

/* ---- errors ---------------------------------------------------------------------------------- */

VW_PRINTF(2, 3)
static vw_status refuse(const scan *s, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return vw_fail(s->err, VW_E_FORMAT, "%s: offset %zu, pickle instruction 0x%02X: %s", s->path,
                   s->op, s->op < s->bytes ? s->file[s->op] : 0, text);
}

static vw_status too_large(const scan *s)
{
    return refuse(s, "more objects than a file of two arrays has; it was not run");
}

/* ---- reading --------------------------------------------------------------------------------- */

/* `n` bytes, little endian, as a number. */
static vw_status take_number(scan *s, size_t n, uint64_t *out)
{
    *out = 0;
    if (n > s->bytes - s->pos)
        return refuse(s, "the file ends within it");
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)s->file[s->pos + i] << 8 * i;
    s->pos += n;
    return VW_OK;
}

/* A length of `n` bytes and that many bytes. */
static vw_status take_bytes(scan *s, size_t n, size_t *at, size_t *bytes)
{
    uint64_t length;
    vw_status st = take_number(s, n, &length);
    if (st)
        return st;
    if (length > s->bytes - s->pos)
        return refuse(s, "%llu bytes, but the file has %zu more", (unsigned long long)length,
                      s->bytes - s->pos);
    *at = s->pos;
    *bytes = (size_t)length;
    s->pos += (size_t)length;
    return VW_OK;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static vw_status push(scan *s, node n)
{
    if (s->n_nodes == MAX_NODES || s->n_stack == MAX_STACK)
        return too_large(s);
    s->nodes[s->n_nodes] = n;
    s->stack[s->n_stack++] = s->n_nodes++;
    return VW_OK;
}

static vw_status push_value(scan *s, node_kind kind, int64_t value)
{
    return push(s, (node){.kind = kind, .value = value});
}

static vw_status need(const scan *s, int n)
{
    return s->n_stack >= n ? VW_OK : refuse(s, "it takes %d objects and there are %d", n, s->n_stack);
}

static const node *top(const scan *s, int below)
{
    return &s->nodes[s->stack[s->n_stack - 1 - below]];
}

static const node *item(const scan *s, const node *of, int i)
{
    return i < of->n_items && s->items[of->item + i] >= 0 ? &s->nodes[s->items[of->item + i]] : NULL;
}

static int is_word(const scan *s, const node *n, const char *word)
{
    return n && (n->kind == NODE_TEXT || n->kind == NODE_NAME) && n->bytes == strlen(word) &&
           !memcmp(s->file + n->at, word, n->bytes);
}

/* ---- arrays ---------------------------------------------------------------------------------- */

static vw_dtype dtype_of(const scan *s, const node *n)
{
    const node *args = n && n->kind == NODE_OBJECT ? item(s, n, 1) : NULL;
    const node *type = args ? item(s, args, 0) : NULL;
    const node *state = args ? item(s, n, 2) : NULL;
    if (!is_word(s, args ? item(s, n, 0) : NULL, "dtype"))
        return VW_DTYPE_NONE;
    if (state && is_word(s, item(s, state, 1), ">"))
        return VW_DTYPE_NONE;
    return is_word(s, type, "f4")         ? VW_F32
           : is_word(s, type, "i1")       ? VW_I8
           : is_word(s, type, "bfloat16") ? VW_BF16
                                          : VW_DTYPE_NONE;
}

static vw_status add_array(scan *s, const node *shape, const node *dtype, const node *bytes)
{
    pickle_array a = {.dtype = dtype_of(s, dtype), .n_dims = shape->n_items, .at = bytes->at,
                      .bytes = bytes->bytes};
    uint64_t n = vw_dtype_bits(a.dtype) / 8;
    if (s->n_arrays == PICKLE_MAX_ARRAYS)
        return refuse(s, "a third array; a tensor has values and perhaps scales");
    if (!n)
        return refuse(s, "an array of a dtype that is none of little-endian f4, i1 and bfloat16");
    if (a.n_dims < 1 || a.n_dims > PICKLE_MAX_DIMS)
        return refuse(s, "an array of %d dimensions", a.n_dims);
    for (int i = 0; i < a.n_dims; i++) {
        const node *d = item(s, shape, i);
        if (!d || d->kind != NODE_INT || d->value < 1 || (uint64_t)d->value > a.bytes / n)
            return refuse(s, "the shape of an array does not fit its %zu bytes", a.bytes);
        a.shape[i] = d->value;
        n *= (uint64_t)d->value;
    }
    if (n != a.bytes)
        return refuse(s, "an array of %zu bytes; its shape makes it %llu", a.bytes,
                      (unsigned long long)n);
    s->arrays[s->n_arrays++] = a;
    return VW_OK;
}

static vw_status look_at_tuple(scan *s, const node *t)
{
    const node *of[5];
    if (t->n_items != 4 && t->n_items != 5)
        return VW_OK;
    for (int i = 0; i < t->n_items; i++)
        of[i] = item(s, t, i);
    int is_state = t->n_items == 5 && of[0]->kind == NODE_INT && of[1]->kind == NODE_TUPLE &&
                   of[3]->kind == NODE_BOOL && of[4]->kind == NODE_BYTES;
    int is_buffer = t->n_items == 4 && of[0]->kind == NODE_BYTES && of[2]->kind == NODE_TUPLE &&
                    of[3]->kind == NODE_TEXT;
    if (!is_state && !is_buffer)
        return VW_OK;
    if (is_state ? of[3]->value != 0 : !is_word(s, of[3], "C"))
        return refuse(s, "an array whose columns lie together; rows are expected to");
    return is_state ? add_array(s, of[1], of[2], of[4]) : add_array(s, of[2], of[1], of[0]);
}

/* ---- instructions that make something of what is on the stack -------------------------------- */

/* The uppermost n objects become one. */
static vw_status gather(scan *s, node_kind kind, int n)
{
    vw_status st = need(s, n);
    if (st)
        return st;
    node made = {.kind = kind, .item = s->n_items, .n_items = n};
    if (n + 1 > MAX_ITEMS - s->n_items)
        return too_large(s);
    for (int i = 0; i < n; i++) {
        int at = s->stack[s->n_stack - n + i];
        if (s->nodes[at].kind == NODE_MARK)
            return refuse(s, "a mark where an object is expected");
        s->items[s->n_items++] = at;
    }
    s->n_stack -= n;
    if (kind == NODE_OBJECT) { /* room for the state */
        s->items[s->n_items++] = -1;
        made.n_items++;
    }
    if ((st = push(s, made)))
        return st;
    return kind == NODE_TUPLE ? look_at_tuple(s, &made) : VW_OK;
}

/* Objects above the last mark. */
static vw_status count_to_mark(const scan *s, int *n)
{
    for (*n = 0; *n < s->n_stack; ++*n)
        if (top(s, *n)->kind == NODE_MARK)
            return VW_OK;
    return refuse(s, "no mark was set");
}

static vw_status tuple_to_mark(scan *s)
{
    int n;
    vw_status st = count_to_mark(s, &n);
    if (st)
        return st;
    memmove(s->stack + s->n_stack - n - 1, s->stack + s->n_stack - n, (size_t)n * sizeof *s->stack);
    s->n_stack--;
    return gather(s, NODE_TUPLE, n);
}

/* Keys and values go; the arrays among them were noticed already. */
static vw_status set_items(scan *s, int is_one)
{
    int n = 2;
    vw_status st = is_one ? need(s, 3) : count_to_mark(s, &n);
    if (st)
        return st;
    s->n_stack -= is_one ? 2 : n + 1;
    if ((st = need(s, 1)))
        return st;
    return top(s, 0)->kind == NODE_DICT ? VW_OK : refuse(s, "items of what is no dictionary");
}

static vw_status build(scan *s)
{
    vw_status st = need(s, 2);
    if (st)
        return st;
    const node *object = top(s, 1);
    if (object->kind != NODE_OBJECT || top(s, 0)->kind == NODE_MARK)
        return refuse(s, "a state for what is no object");
    s->items[object->item + 2] = s->stack[--s->n_stack];
    return VW_OK;
}

static vw_status make_object(scan *s)
{
    vw_status st = need(s, 2);
    if (st)
        return st;
    if (top(s, 1)->kind != NODE_NAME || top(s, 0)->kind != NODE_TUPLE)
        return refuse(s, "a call of what is no name, or without a tuple; it was not made");
    return gather(s, NODE_OBJECT, 2);
}

/* ---- names ----------------------------------------------------------------------------------- */

static int begins(const char *text, size_t n, const char *with)
{
    return n >= strlen(with) && !memcmp(text, with, strlen(with));
}

static int is(const char *text, size_t n, const char *word)
{
    return n == strlen(word) && !memcmp(text, word, n);
}

/* What numpy, JAX and xAI's program write; everything else, os.system among it, has no business
 * here. */
static int is_harmless(const char *module, size_t m, const char *name, size_t n)
{
    int is_numpy = begins(module, m, "numpy"), is_jax = begins(module, m, "jax");
    if (is_numpy)
        return is(name, n, "_reconstruct") || is(name, n, "ndarray") || is(name, n, "dtype") ||
               is(name, n, "_frombuffer");
    if (is_jax)
        return is(name, n, "_reconstruct_array") || is(name, n, "bfloat16");
    if (begins(module, m, "ml_dtypes"))
        return is(name, n, "bfloat16");
    return (is(module, m, "__main__") || is(module, m, "model")) && is(name, n, "QuantizedWeight8bit");
}

static vw_status push_name(scan *s, size_t module, size_t m, size_t name, size_t n)
{
    const char *text = (const char *)s->file;
    char shown[200];
    if (is_harmless(text + module, m, text + name, n))
        return push(s, (node){.kind = NODE_NAME, .at = name, .bytes = n});
    snprintf(shown, sizeof shown, "%.*s.%.*s", (int)(m < 80 ? m : 80), text + module,
             (int)(n < 80 ? n : 80), text + name);
    for (char *c = shown; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return refuse(s, "it names %s, which no file of arrays needs; it was not imported", shown);
}

static vw_status name_on_stack(scan *s)
{
    vw_status st = need(s, 2);
    if (st)
        return st;
    node module = *top(s, 1), name = *top(s, 0);
    if (module.kind != NODE_TEXT || name.kind != NODE_TEXT)
        return refuse(s, "a name that is no text");
    s->n_stack -= 2;
    return push_name(s, module.at, module.bytes, name.at, name.bytes);
}

static vw_status name_in_lines(scan *s)
{
    size_t at[2], n[2];
    for (int i = 0; i < 2; i++) {
        const unsigned char *end = memchr(s->file + s->pos, '\n', s->bytes - s->pos);
        if (!end)
            return refuse(s, "the file ends within it");
        at[i] = s->pos;
        n[i] = (size_t)(end - s->file) - s->pos;
        s->pos += n[i] + 1;
    }
    return push_name(s, at[0], n[0], at[1], n[1]);
}

/* ---- the memo -------------------------------------------------------------------------------- */

static vw_status memo_put(scan *s, uint64_t i)
{
    vw_status st = need(s, 1);
    if (st)
        return st;
    if (i >= MAX_MEMO)
        return refuse(s, "memo %llu; such a file has a few dozen", (unsigned long long)i);
    for (; s->n_memo <= (int)i; s->n_memo++)
        s->memo[s->n_memo] = -1;
    s->memo[i] = s->stack[s->n_stack - 1];
    return VW_OK;
}

static vw_status memo_get(scan *s, uint64_t i)
{
    if (i >= (uint64_t)s->n_memo || s->memo[i] < 0)
        return refuse(s, "memo %llu was never set", (unsigned long long)i);
    if (s->n_stack == MAX_STACK)
        return too_large(s);
    s->stack[s->n_stack++] = s->memo[i];
    return VW_OK;
}

/* ---- the program ----------------------------------------------------------------------------- */

static vw_status push_bytes(scan *s, node_kind kind, size_t length_bytes)
{
    node n = {.kind = kind};
    vw_status st = take_bytes(s, length_bytes, &n.at, &n.bytes);
    return st ? st : push(s, n);
}

static vw_status push_int(scan *s, size_t bytes, int is_signed)
{
    uint64_t u;
    vw_status st = take_number(s, bytes, &u);
    if (st)
        return st;
    return push_value(s, NODE_INT, is_signed ? (int64_t)(int32_t)(uint32_t)u : (int64_t)u);
}

static vw_status with_number(scan *s, size_t bytes, vw_status (*use)(scan *s, uint64_t n))
{
    uint64_t n;
    vw_status st = take_number(s, bytes, &n);
    return st ? st : use(s, n);
}

static vw_status check_protocol(scan *s, uint64_t n)
{
    return n >= 3 && n <= 5 ? VW_OK : refuse(s, "protocol %llu; 3, 4 and 5 are known",
                                             (unsigned long long)n);
}

static vw_status check_frame(scan *s, uint64_t n)
{
    return n <= s->bytes - s->pos ? VW_OK
                                  : refuse(s, "a frame of %llu bytes, but the file has %zu more",
                                           (unsigned long long)n, s->bytes - s->pos);
}

static vw_status step(scan *s, unsigned char op)
{
    switch (op) {
    case 0x80: return with_number(s, 1, check_protocol);
    case 0x95: return with_number(s, 8, check_frame);
    case 'q': return with_number(s, 1, memo_put);
    case 'r': return with_number(s, 4, memo_put);
    case 0x94: return memo_put(s, (uint64_t)s->n_memo);
    case 'h': return with_number(s, 1, memo_get);
    case 'j': return with_number(s, 4, memo_get);
    case '(': return push_value(s, NODE_MARK, 0);
    case 'N': return push_value(s, NODE_NONE, 0);
    case 0x88: return push_value(s, NODE_BOOL, 1);
    case 0x89: return push_value(s, NODE_BOOL, 0);
    case 'K': return push_int(s, 1, 0);
    case 'M': return push_int(s, 2, 0);
    case 'J': return push_int(s, 4, 1);
    case 0x8C: return push_bytes(s, NODE_TEXT, 1);
    case 'X': return push_bytes(s, NODE_TEXT, 4);
    case 'C': return push_bytes(s, NODE_BYTES, 1);
    case 'B': return push_bytes(s, NODE_BYTES, 4);
    case 0x8E: case 0x96: return push_bytes(s, NODE_BYTES, 8);
    case 'c': return name_in_lines(s);
    case 0x93: return name_on_stack(s);
    case ')': return gather(s, NODE_TUPLE, 0);
    case 0x85: case 0x86: case 0x87: return gather(s, NODE_TUPLE, op - 0x84);
    case 't': return tuple_to_mark(s);
    case '}': return push_value(s, NODE_DICT, 0);
    case 's': case 'u': return set_items(s, op == 's');
    case 'R': case 0x81: return make_object(s);
    case 'b': return build(s);
    default: return refuse(s, "it is none of those that files of arrays consist of; it was not run");
    }
}

vw_status pickle_arrays(const unsigned char *file, size_t bytes, const char *path,
                        pickle_array arrays[PICKLE_MAX_ARRAYS], int *n, vw_error *err)
{
    scan s = {.file = file, .bytes = bytes, .path = path, .arrays = arrays, .err = err};
    for (;;) {
        s.op = s.pos;
        if (s.pos == bytes)
            return refuse(&s, "the file ends before its program does");
        unsigned char op = file[s.pos++];
        if (op == '.')
            break;
        vw_status st = step(&s, op);
        if (st)
            return st;
    }
    if (s.pos != bytes)
        return refuse(&s, "the program ends here, but the file goes on for %zu bytes", bytes - s.pos);
    if (s.n_stack != 1 || !s.n_arrays)
        return refuse(&s, "the program ends with %d objects and %d arrays; one object that holds "
                      "arrays is expected", s.n_stack, s.n_arrays);
    *n = s.n_arrays;
    return VW_OK;
}
