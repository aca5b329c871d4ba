/* The least a C extension can do for each thing tickbus does from Python.
 *
 * Nothing here is safe to use: one thread, one process, no readers, no types, no filters. That is
 * the point: what tickbus costs above these figures is what order, loss accounting, several
 * processes and typed errors cost. Compiled by `tickbus bench` for the interpreter that runs it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>
#include <time.h>

typedef struct {
    uint64_t timestamp;
    uint8_t event_type, priority;
    uint16_t source;
    uint32_t symbol;
    double value;
    uint64_t metadata;
} Record;
_Static_assert(sizeof(Record) == 32, "the event is 32 bytes");

enum { SLOTS = 1 << 16, MASK = SLOTS - 1, KEPT = 4096, MAX_HANDLERS = 1024 };

static Record ring[SLOTS] __attribute__((aligned(64)));
static uint64_t written, taken;
static PyObject *handlers[MAX_HANDLERS];
static Py_ssize_t handler_count;
static int stamp;

static inline uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the event object, kept on a free list ---- */

typedef struct {
    PyObject_HEAD
    Record record;
} Event;

static Event *kept[KEPT];
static int kept_count;
static PyTypeObject EventType;

static void event_dealloc(PyObject *self) {
    if (kept_count < KEPT) kept[kept_count++] = (Event *)self;
    else PyObject_Free(self);
}

/* Its record is the caller's to fill. */
static inline Event *event_new(void) {
    if (!kept_count) return PyObject_New(Event, &EventType);
    Event *event = kept[--kept_count];
    PyObject_Init((PyObject *)event, &EventType);
    return event;
}

static PyMemberDef event_members[] = {
    {"timestamp", T_ULONGLONG, offsetof(Event, record.timestamp), READONLY, NULL},
    {"event_type", T_UBYTE, offsetof(Event, record.event_type), READONLY, NULL},
    {"symbol", T_UINT, offsetof(Event, record.symbol), READONLY, NULL},
    {"value", T_DOUBLE, offsetof(Event, record.value), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject EventType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "tickbus_floor.Event",
    .tp_basicsize = sizeof(Event),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = event_dealloc,
    .tp_members = event_members,
};

/* ---- publish ---- */

typedef struct {
    uint64_t kind_symbol;
    double value;
} Arguments;

/* Returns 0 with an exception set when the arguments are not (int, int, float). */
static inline int read_arguments(PyObject *const *args, Py_ssize_t count, Arguments *read) {
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "publish(event_type, symbol, value)");
        return 0;
    }
    long kind = PyLong_AsLong(args[0]), symbol = PyLong_AsLong(args[1]);
    read->value = PyFloat_AsDouble(args[2]);
    read->kind_symbol = (uint64_t)(uint8_t)kind | (uint64_t)(uint32_t)symbol << 32;
    return !PyErr_Occurred();
}

/* Word by word from registers: a struct made on the stack and copied as one vector waits for its
   own narrower stores, which in one process of ten cost another 20 ns. */
static inline void store(Record *record, Arguments read, uint64_t timestamp) {
    memcpy(&record->timestamp, &timestamp, 8);
    memcpy(&record->event_type, &read.kind_symbol, 8);
    memcpy(&record->value, &read.value, 8);
    record->metadata = 0;
}

static PyObject *publish(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    Arguments read;
    if (!read_arguments(args, count, &read)) return NULL;
    store(&ring[written++ & MASK], read, 0);
    Py_RETURN_NONE;
}

static PyObject *publish_stamped(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    Arguments read;
    if (!read_arguments(args, count, &read)) return NULL;
    store(&ring[written++ & MASK], read, now());
    Py_RETURN_NONE;
}

/* Store, build the event once, call every handler with it. */
static PyObject *dispatch(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    Arguments read;
    if (!read_arguments(args, count, &read)) return NULL;
    uint64_t timestamp = stamp ? now() : 0;
    store(&ring[written++ & MASK], read, timestamp);
    Event *event = event_new();
    if (!event) return NULL;
    store(&event->record, read, timestamp);
    for (Py_ssize_t i = 0; i < handler_count; i++) {
        PyObject *result = PyObject_CallOneArg(handlers[i], (PyObject *)event);
        if (!result) { Py_DECREF(event); return NULL; }
        Py_DECREF(result);
    }
    Py_DECREF(event);
    Py_RETURN_NONE;
}

static PyObject *connect_handlers(PyObject *self, PyObject *args) {
    PyObject *list;
    if (!PyArg_ParseTuple(args, "O!p", &PyList_Type, &list, &stamp)) return NULL;
    if (PyList_GET_SIZE(list) > MAX_HANDLERS) {
        PyErr_SetString(PyExc_ValueError, "too many handlers");
        return NULL;
    }
    while (handler_count) Py_DECREF(handlers[--handler_count]);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++)
        handlers[handler_count++] = Py_NewRef(PyList_GET_ITEM(list, i));
    Py_RETURN_NONE;
}

/* ---- read ---- */

static PyObject *drain(PyObject *self, PyObject *argument) {
    Py_ssize_t most = PyLong_AsSsize_t(argument);
    if (most == -1 && PyErr_Occurred()) return NULL;
    if (written - taken < (uint64_t)most) most = (Py_ssize_t)(written - taken);
    PyObject *list = PyList_New(most);
    if (!list) return NULL;
    for (Py_ssize_t i = 0; i < most; i++) {
        Event *event = event_new();
        if (!event) { Py_DECREF(list); return NULL; }
        event->record = ring[taken++ & MASK];
        PyList_SET_ITEM(list, i, (PyObject *)event);
    }
    return list;
}

/* Copies whole runs up to the ring's end; `out` says which way. */
static void copy_runs(char *bytes, uint64_t position, uint64_t events, int out) {
    while (events) {
        uint64_t start = position & MASK, run = SLOTS - start < events ? SLOTS - start : events;
        if (out) memcpy(bytes, &ring[start], run * sizeof(Record));
        else memcpy(&ring[start], bytes, run * sizeof(Record));
        bytes += run * sizeof(Record), position += run, events -= run;
    }
}

static PyObject *publish_batch(PyObject *self, PyObject *argument) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(argument, &buffer, PyBUF_C_CONTIGUOUS) < 0) return NULL;
    uint64_t events = (uint64_t)buffer.len / sizeof(Record);
    copy_runs(buffer.buf, written, events, 0);
    written += events;
    PyBuffer_Release(&buffer);
    return PyLong_FromUnsignedLongLong(events);
}

static PyObject *read_batch(PyObject *self, PyObject *argument) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(argument, &buffer, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) < 0) return NULL;
    uint64_t events = (uint64_t)buffer.len / sizeof(Record);
    if (written - taken < events) events = written - taken;
    copy_runs(buffer.buf, taken, events, 1);
    taken += events;
    PyBuffer_Release(&buffer);
    return PyLong_FromUnsignedLongLong(events);
}

/* Moves the reader: 0 = nothing left to read, n = the newest n again. */
static PyObject *rewind_reader(PyObject *self, PyObject *argument) {
    Py_ssize_t events = PyLong_AsSsize_t(argument);
    if (events == -1 && PyErr_Occurred()) return NULL;
    taken = written - (uint64_t)events;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"publish", (PyCFunction)(void *)publish, METH_FASTCALL, NULL},
    {"publish_stamped", (PyCFunction)(void *)publish_stamped, METH_FASTCALL, NULL},
    {"dispatch", (PyCFunction)(void *)dispatch, METH_FASTCALL, NULL},
    {"connect", connect_handlers, METH_VARARGS, NULL},
    {"drain", drain, METH_O, NULL},
    {"publish_batch", publish_batch, METH_O, NULL},
    {"read_batch", read_batch, METH_O, NULL},
    {"rewind", rewind_reader, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "tickbus_floor", .m_size = -1,
                                    .m_methods = methods};

PyMODINIT_FUNC PyInit_tickbus_floor(void) {
    if (PyType_Ready(&EventType) < 0) return NULL;
    return PyModule_Create(&module);
}
