/* chars.c - tokenizer/chars: a token for each character that the training text holds.
 *
 * The alphabet is learnt from a text and lies in the model's folder as chars.json:
 *
 *     {"alphabet": "\n !$&',-.3:;?ABC...", "eos": true}
 *
 * Ids are the places in the alphabet, which is in the order of code points; the end of a text,
 * where there is such a token, comes last.  A character that is not in the alphabet is an error
 * and not a guess: there is nothing to fall back to.
 */
#include <vishwamai/json.h>
#include <vishwamai/tokenizer.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { CODE_POINTS = 0x110000 };

static const char file_name[] = "chars.json";

typedef struct config {
    int32_t eos;
} config;

typedef struct chars {
    const vw_host *host;
    const vw_json *json;
    const config *config;
    uint32_t *alphabet; /* [n], ascending; NULL before load */
    int32_t n;
    int32_t ascii[128]; /* id, or -1 */
    vw_tokenizer_info info;
} chars;

/* ---- characters ------------------------------------------------------------------------------ */

/* The character at p and its bytes; 0 when it is not well formed. */
static int decode(const char *p, size_t left, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = (unsigned char)*p;
    int n = c < 0x80             ? 1
            : (c & 0xE0) == 0xC0 ? 2
            : (c & 0xF0) == 0xE0 ? 3
            : (c & 0xF8) == 0xF0 ? 4
                                 : 0;
    if (n == 0 || (size_t)n > left)
        return 0;
    *code = n == 1 ? c : c & (0xFFu >> (n + 1));
    for (int i = 1; i < n; i++) {
        if (((unsigned char)p[i] & 0xC0) != 0x80)
            return 0;
        *code = *code << 6 | ((unsigned char)p[i] & 0x3F);
    }
    return *code < least[n] || *code >= CODE_POINTS || (*code >= 0xD800 && *code < 0xE000) ? 0 : n;
}

static int encode_one(uint32_t code, char *to)
{
    int n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3F));
    to[0] = (char)(n == 1 ? code : (0xF00u >> n & 0xF0) | code);
    return n;
}

static int32_t id_of(const chars *t, uint32_t code)
{
    int32_t from = 0, to = t->n;
    if (code < 128)
        return t->ascii[code];
    while (from < to) {
        int32_t middle = from + (to - from) / 2;
        if (t->alphabet[middle] < code)
            from = middle + 1;
        else
            to = middle;
    }
    return from < t->n && t->alphabet[from] == code ? from : -1;
}

/* ---- loading --------------------------------------------------------------------------------- */

static vw_status take_alphabet(chars *t, const char *path, const char *text, size_t bytes,
                               vw_error *err)
{
    int32_t n = 0;
    t->alphabet = t->host->alloc(t->host->core, (bytes + 1) * sizeof *t->alphabet);
    if (!t->alphabet)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for its alphabet", path);
    for (size_t at = 0; at < bytes; n++) {
        int length = decode(text + at, bytes - at, &t->alphabet[n]);
        if (length == 0)
            return vw_fail(err, VW_E_FORMAT, "%s: \"alphabet\" is not UTF-8", path);
        if (n > 0 && t->alphabet[n] <= t->alphabet[n - 1])
            return vw_fail(err, VW_E_FORMAT,
                           "%s: character %d of \"alphabet\" is not after the one "
                           "before it; code points ascend",
                           path, n);
        at += (size_t)length;
    }
    if (n == 0)
        return vw_fail(err, VW_E_FORMAT, "%s: \"alphabet\" is empty", path);
    t->n = n;
    for (int i = 0; i < 128; i++)
        t->ascii[i] = -1;
    for (int32_t i = 0; i < n && t->alphabet[i] < 128; i++)
        t->ascii[t->alphabet[i]] = i;
    return VW_OK;
}

static vw_status read_file(chars *t, const char *path, vw_error *err)
{
    vw_json_doc *doc;
    const char *alphabet;
    size_t bytes = 0;
    int has_eos;
    vw_status st = t->json->open_file(path, &doc, err);
    if (st)
        return st;
    const vw_json_value *root = t->json->root(doc);
    st = t->json->get_string(doc, root, "alphabet", "", &alphabet, err);
    if (!st)
        st = t->json->get_bool(doc, root, "eos", 0, &has_eos, err);
    if (!st) {
        alphabet = t->json->string(t->json->get(root, "alphabet"), &bytes);
        st = take_alphabet(t, path, alphabet, bytes, err);
    }
    t->json->close(doc);
    if (st)
        return st;
    t->info = (vw_tokenizer_info){.size = sizeof t->info,
                                  .vocab_size = t->n + has_eos,
                                  .bos = -1,
                                  .eos = has_eos ? t->n : -1,
                                  .pad = -1,
                                  .unk = -1,
                                  .n_stop = has_eos,
                                  .stop = {t->n}};
    return VW_OK;
}

static vw_status load(void *self, const char *folder, vw_error *err)
{
    chars *t = self;
    char path[4096];
    if (t->alphabet)
        return vw_fail(err, VW_E_INVALID, "a tokenizer is loaded already");
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, file_name) >= sizeof path)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", folder);
    vw_status st = read_file(t, path, err);
    if (st) {
        t->host->free(t->host->core, t->alphabet);
        t->alphabet = NULL;
    }
    return st;
}

static vw_status info(void *self, vw_tokenizer_info *out, vw_error *err)
{
    const chars *t = self;
    if (!t->alphabet)
        return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
    *out = t->info;
    return VW_OK;
}

/* ---- text and ids ---------------------------------------------------------------------------- */

static vw_status encode(void *self, const char *text, size_t bytes, int parse_special, int32_t *ids,
                        size_t room, size_t *n, vw_error *err)
{
    const chars *t = self;
    size_t count = 0;
    (void)parse_special;
    if (!t->alphabet)
        return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
    for (size_t at = 0; at < bytes; count++) {
        uint32_t code;
        int length = decode(text + at, bytes - at, &code);
        int32_t id = length ? id_of(t, code) : -1;
        if (length == 0)
            return vw_fail(err, VW_E_INVALID, "byte 0x%02X at offset %zu is not UTF-8",
                           (unsigned char)text[at], at);
        if (id < 0)
            return vw_fail(err, VW_E_INVALID,
                           "U+%04X at offset %zu is not one of the %d characters that "
                           "this tokenizer was learnt from",
                           (unsigned)code, at, t->n);
        if (count < room)
            ids[count] = id;
        at += (size_t)length;
    }
    *n = count;
    return VW_OK;
}

static vw_status piece(void *self, int32_t id, int is_first, int show_special, char *text,
                       size_t room, size_t *bytes, vw_error *err)
{
    const chars *t = self;
    char one[4];
    (void)is_first;
    if (!t->alphabet)
        return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
    if (id < 0 || id >= t->info.vocab_size)
        return vw_fail(err, VW_E_INVALID, "token id %d, expected 0 to %d", id,
                       t->info.vocab_size - 1);
    const char *from = id < t->n ? one : "<eos>";
    size_t n = id < t->n ? (size_t)encode_one(t->alphabet[id], one) : show_special ? 5 : 0;
    if (n)
        memcpy(text, from, n < room ? n : room);
    *bytes = n;
    return VW_OK;
}

/* ---- learning -------------------------------------------------------------------------------- */

static vw_status note(const vw_tokenizer_training *x, unsigned char *seen, int32_t *n,
                      vw_error *err)
{
    for (size_t i = 0; i < x->n_texts; i++)
        for (size_t at = 0; at < x->bytes[i];) {
            uint32_t code;
            int length = decode(x->texts[i] + at, x->bytes[i] - at, &code);
            if (length == 0)
                return vw_fail(err, VW_E_FORMAT, "text %zu: byte 0x%02X at offset %zu is not UTF-8",
                               i + 1, (unsigned char)x->texts[i][at], at);
            *n += !seen[code];
            seen[code] = 1;
            at += (size_t)length;
        }
    return VW_OK;
}

/* A character as it stands in a JSON string. */
static void put(FILE *to, uint32_t code)
{
    char one[5] = "";
    encode_one(code, one);
    if (code < 32 || code == '"' || code == '\\')
        fprintf(to, "\\u%04x", (unsigned)code);
    else
        fputs(one, to);
}

static vw_status write_file(const chars *t, const char *folder, const unsigned char *seen,
                            vw_error *err)
{
    char path[4096], temporary[4128];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, file_name) >= sizeof path)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", folder);
    snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FILE *to = fd < 0 ? NULL : fdopen(fd, "w");
    if (!to)
        return vw_fail(err, VW_E_IO, "cannot write %s: %s", temporary, strerror(errno));
    fputs("{\"alphabet\": \"", to);
    for (uint32_t code = 0; code < CODE_POINTS; code++)
        if (seen[code])
            put(to, code);
    fprintf(to, "\", \"eos\": %s}\n", t->config->eos ? "true" : "false");
    int failed = fflush(to) != 0 || fsync(fd) != 0;
    int reason = errno;
    failed = fclose(to) != 0 || failed;
    if (!failed && rename(temporary, path) == 0)
        return VW_OK;
    reason = failed ? reason : errno;
    unlink(temporary);
    return vw_fail(err, VW_E_IO, "cannot write %s: %s", path, strerror(reason));
}

static vw_status train(void *self, const vw_tokenizer_training *x, vw_error *err)
{
    const chars *t = self;
    int32_t n = 0;
    unsigned char *seen = t->host->alloc(t->host->core, CODE_POINTS);
    if (!seen)
        return vw_fail(err, VW_E_NOMEM, "no memory to learn an alphabet");
    memset(seen, 0, CODE_POINTS);
    vw_status st = note(x, seen, &n, err);
    if (!st && n == 0)
        st = vw_fail(err, VW_E_FORMAT, "there is no text to learn an alphabet from");
    n += t->config->eos;
    if (!st && x->vocab_size && x->vocab_size != n)
        st = vw_fail(
            err, VW_E_CONFIG, "a vocabulary of %d is wanted, and the texts have %d characters%s",
            x->vocab_size, n - t->config->eos, t->config->eos ? ", and there is one EOS" : "");
    if (!st)
        st = write_file(t, x->folder, seen, err);
    t->host->free(t->host->core, seen);
    return st;
}

static const char *const *files(void *self)
{
    static const char *const names[] = {file_name, NULL};
    (void)self;
    return names;
}

/* ---- the description ------------------------------------------------------------------------- */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    char path[4096];
    if (!about || !about->folder) {
        snprintf(why, why_bytes, "reads the %s of a model folder", file_name);
        return 1;
    }
    int n = snprintf(path, sizeof path, "%s/%s", about->folder, file_name);
    if (n < 0 || (size_t)n >= sizeof path || access(path, R_OK)) {
        snprintf(why, why_bytes, "%s holds no readable %s", about->folder, file_name);
        return 0;
    }
    snprintf(why, why_bytes, "found %s", file_name);
    return 500;
}

static vw_status open_chars(const vw_host *host, const void *options, void **self, vw_error *err)
{
    const vw_json *json = host->service(host->core, "json", VW_JSON_MAJOR);
    if (!json)
        return vw_fail(err, VW_E_ABI,
                       "tokenizer/chars needs version %d of the service \"json\", which "
                       "this core does not have",
                       VW_JSON_MAJOR);
    chars *t = host->alloc(host->core, sizeof *t);
    if (!t)
        return vw_fail(err, VW_E_NOMEM, "no memory for tokenizer/chars");
    memset(t, 0, sizeof *t);
    t->host = host;
    t->json = json;
    t->config = options;
    *self = t;
    return VW_OK;
}

static void close_chars(void *self)
{
    chars *t = self;
    t->host->free(t->host->core, t->alphabet);
    t->host->free(t->host->core, t);
}

static const vw_option options[] = {
    {"eos", VW_OPTION_BOOL, "no", 0, 0, NULL, offsetof(config, eos), 0,
     "learning: add a token for the end of a text"},
    VW_OPTION_END,
};

static const vw_tokenizer_ops ops = {
    .size = sizeof ops,
    .load = load,
    .info = info,
    .encode = encode,
    .piece = piece,
    .train = train,
    .files = files,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_TOKENIZER,
    .ops_major = VW_TOKENIZER_OPS_MAJOR,
    .ops_minor = VW_TOKENIZER_OPS_MINOR,
    .name = "chars",
    .summary = "one token a character, the alphabet learnt from a text",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL,
    .caps = VW_CAP_THREAD_SAFE,
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_chars,
    .close = close_chars,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(tokenizer, chars)
{
    return &description;
}
