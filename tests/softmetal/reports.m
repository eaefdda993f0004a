/* What the software device reports: faults, live objects, and the log of events. */
#include <pthread.h>
#include <stdarg.h>

#include "settings.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* An array of `size`-byte items with room for one more. */
static void *grown(void *items, int count, int *room, size_t size)
{
    if (count < *room) return items;
    *room = *room ? 2 * *room : 256;
    items = realloc(items, (size_t)*room * size);
    if (!items) abort();
    return items;
}

static size_t copied(const char *from, char *text, size_t room)
{
    if (text && room) snprintf(text, room, "%s", from);
    return strlen(from);
}

/* Faults. */

static char **faults;
static int n_faults, room_for_faults;

void soft_note_fault(const char *text)
{
    pthread_mutex_lock(&lock);
    faults = grown(faults, n_faults, &room_for_faults, sizeof *faults);
    faults[n_faults++] = strdup(text);
    pthread_mutex_unlock(&lock);
}

void soft_fault(NSString *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    NSString *text = [[[NSString alloc] initWithFormat:format arguments:arguments] autorelease];
    va_end(arguments);
    soft_note_fault([text UTF8String]);
    if (soft_set.action == SOFTMETAL_RAISE)
        [NSException raise:@"SoftMetalFault" format:@"%@", text];
    if (soft_set.action == SOFTMETAL_ABORT) {
        fprintf(stderr, "softmetal: %s\n(SOFTMETAL_FAULTS=record or raise goes on)\n",
                [text UTF8String]);
        abort();
    }
}

int softmetal_fault_count(void) { return n_faults; }

size_t softmetal_fault(int index, char *text, size_t room)
{
    pthread_mutex_lock(&lock);
    size_t length = index >= 0 && index < n_faults ? copied(faults[index], text, room) : 0;
    pthread_mutex_unlock(&lock);
    return length;
}

void softmetal_clear_faults(void)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_faults; i++) free(faults[i]);
    n_faults = 0;
    pthread_mutex_unlock(&lock);
}

NSError *soft_error(NSString *domain, NSInteger code, NSString *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    NSString *text = [[[NSString alloc] initWithFormat:format arguments:arguments] autorelease];
    va_end(arguments);
    return [NSError errorWithDomain:domain
                               code:code
                           userInfo:[NSDictionary dictionaryWithObject:text
                                                                forKey:NSLocalizedDescriptionKey]];
}

/* Live objects. */

static struct {
    Class class;
    int live;
} classes[64];
static int n_classes;

void soft_count(id object, int by)
{
    Class class = [object class];
    int i = 0;
    pthread_mutex_lock(&lock);
    while (i < n_classes && classes[i].class != class) i++;
    if (i == n_classes) classes[n_classes++].class = class;
    classes[i].live += by;
    pthread_mutex_unlock(&lock);
}

int softmetal_live(const char *class_name)
{
    int live = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_classes; i++)
        if (!class_name || !strcmp(class_name, class_getName(classes[i].class)))
            live += classes[i].live;
    pthread_mutex_unlock(&lock);
    return live;
}

size_t softmetal_live_classes(char *text, size_t room)
{
    char all[64 * 80] = "";
    size_t at = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_classes; i++)
        if (classes[i].live)
            at += (size_t)snprintf(all + at, sizeof all - at, "%s %d\n",
                                   class_getName(classes[i].class), classes[i].live);
    pthread_mutex_unlock(&lock);
    return copied(all, text, room);
}

/* The log. Lines are made when they are read: an event costs what copying it costs. */

enum { MOST_NUMBERS = 9, NAME_BYTES = 48 };
typedef struct {
    const char *word;
    char name[NAME_BYTES];
    int n;
    int64_t numbers[MOST_NUMBERS];
} event;

/* How the numbers of an event read. */
static const struct {
    const char *word;
    const char *numbers[MOST_NUMBERS];
} layouts[] = {
    {"buffer", {"", "length", "storage", "copied"}},
    {"buffer_freed", {"", "length"}},
    {"library", {"functions", "from_source", "fast_math", "language"}},
    {"pipeline", {""}},
    {"queue", {"", "most"}},
    {"commands", {"", "retained"}},
    {"encoder", {"of", "concurrent"}},
    {"dispatch", {"of", "grid", ",", ",", "group", ",", ",", "epoch", "set"}},
    {"barrier", {"of", "epoch"}},
    {"copy", {"of", "from", "offset", "to", "offset", "size"}},
    {"fill", {"of", "buffer", "offset", "size", "value"}},
    {"use", {"of", "buffer", "length"}},
    {"end", {"of"}},
    {"commit", {""}},
    {"wait", {"", "completed"}},
    {"scheduled", {""}},
    {"completed", {""}},
    {"failed", {"", "code"}},
    {"residency", {"allocations"}},
};

int soft_log_on;
static event *events;
static int n_events, room_for_events;

void softmetal_log(int on) { soft_log_on = on; }

void softmetal_clear_log(void)
{
    pthread_mutex_lock(&lock);
    n_events = 0;
    pthread_mutex_unlock(&lock);
}

void soft_log_event(const char *word, const char *name, int n, const int64_t *numbers)
{
    pthread_mutex_lock(&lock);
    events = grown(events, n_events, &room_for_events, sizeof *events);
    event *e = &events[n_events++];
    e->word = word;
    snprintf(e->name, sizeof e->name, "%s", name ? name : "");
    e->n = n;
    memcpy(e->numbers, numbers, (size_t)n * sizeof *numbers);
    pthread_mutex_unlock(&lock);
}

static size_t write_line(const event *e, char *line, size_t room)
{
    const char *const *names = NULL;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (!strcmp(layouts[i].word, e->word)) names = layouts[i].numbers;
    size_t at = (size_t)snprintf(line, room, "%s%s%s", e->word, *e->name ? " " : "", e->name);
    for (int i = 0; i < e->n; i++) {
        const char *name = names && names[i] ? names[i] : "";
        int joined = *name == ',';
        at += (size_t)snprintf(line + at, room - at, "%s%s%s%lld", joined ? "" : " ", name,
                               joined || !*name ? "" : " ", (long long)e->numbers[i]);
    }
    at += (size_t)snprintf(line + at, room - at, "\n");
    return at;
}

size_t softmetal_log_text(char *text, size_t room)
{
    size_t length = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_events; i++) {
        char line[512];
        size_t n = write_line(&events[i], line, sizeof line);
        if (text && length + n < room) memcpy(text + length, line, n + 1);
        length += n;
    }
    pthread_mutex_unlock(&lock);
    return length;
}

int softmetal_log_count(const char *word)
{
    int count = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_events; i++) count += !strcmp(events[i].word, word);
    pthread_mutex_unlock(&lock);
    return count;
}
