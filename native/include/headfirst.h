/* headfirst.h: headfirst's kernels for other native code, without JavaScript in between. Plain C99; no
 * library to link.
 *
 * The Node-API addon headfirst.node exports one symbol, headfirst_api(), to code inside a Node.js process (a
 * standalone program cannot load it: Node-API would be missing). JavaScript knows where the addon lies and
 * where this file is:
 *     import { addonPath, include } from 'headfirst/native';        // or require('headfirst/native')
 * Hand addonPath to your addon and open it there:
 *
 *     const headfirst_api_table* hf = headfirst_open(path);
 *     if (hf == NULL) return give_up(dlerror());
 *     const headfirst_op* gemm = hf->find_op("gemm");
 *     const headfirst_argument arguments[] = {
 *         headfirst_matrix("a", a, HEADFIRST_F32, M, K),
 *         headfirst_matrix("b", b, HEADFIRST_F32, K, N),
 *         headfirst_matrix("c", c, HEADFIRST_F32, M, N),
 *         headfirst_number("alpha", 0.5),
 *     };
 *     headfirst_error error;
 *     if (hf->run(gemm, arguments, 4, NULL, &error) != HEADFIRST_OK) puts(error.message);
 *
 * Arguments, shapes and equations of every op are those of its contract, native/ops/<family>/<op>.h (the same
 * as kernels.<op> in JavaScript). Required outputs must be given: nothing is allocated for the caller, and
 * nothing is kept after the call. Any thread may call; calls on different threads run side by side. No call
 * throws, aborts or prints. */
#ifndef HEADFIRST_H
#define HEADFIRST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rises when something below changes in a way that compiled callers notice; new ops and new optional fields
 * do not. */
#define HEADFIRST_API_VERSION 1
#define HEADFIRST_MAX_RANK 4

typedef enum headfirst_status {
  HEADFIRST_OK = 0,
  HEADFIRST_INVALID_ARG = 1,
  HEADFIRST_SHAPE = 2,
  HEADFIRST_DTYPE = 3,
  HEADFIRST_OUT_OF_MEMORY = 4,
  HEADFIRST_BACKEND_UNAVAILABLE = 5,
  HEADFIRST_CUDA = 6,
  HEADFIRST_BUSY = 7,
  HEADFIRST_DISPOSED = 8,
  HEADFIRST_UNSUPPORTED = 9,
  HEADFIRST_ABORTED = 10,
  HEADFIRST_IO = 11
} headfirst_status;

typedef enum headfirst_dtype {
  HEADFIRST_F32 = 0,
  HEADFIRST_F64 = 1,
  HEADFIRST_I32 = 2,
  HEADFIRST_BF16 = 3,
  HEADFIRST_F16 = 4,
  HEADFIRST_U8 = 5
} headfirst_dtype;

/* Where numbers lie; it owns nothing. A null pointer is an absent optional argument. */
typedef struct headfirst_view {
  void* data;
  int32_t dtype; /* headfirst_dtype */
  int32_t rank;  /* 1 … 4 */
  int64_t shape[HEADFIRST_MAX_RANK];
  int64_t stride[HEADFIRST_MAX_RANK]; /* in elements */
} headfirst_view;

/* One argument by name: a tensor uses `view`, a number, integer or flag `number`, a choice `choice`. */
typedef struct headfirst_argument {
  const char* name;
  headfirst_view view;
  double number;
  const char* choice;
} headfirst_argument;

typedef enum headfirst_kind {
  HEADFIRST_IN,
  HEADFIRST_OUT,
  HEADFIRST_INOUT,
  HEADFIRST_NUMBER,
  HEADFIRST_INTEGER,
  HEADFIRST_FLAG,
  HEADFIRST_CHOICE
} headfirst_kind;
enum {
  HEADFIRST_OPTIONAL = 1,
  HEADFIRST_STRIDED = 2,
  HEADFIRST_INDICES = 4,
  HEADFIRST_BYTES = 8,
  HEADFIRST_DOUBLE = 16,
  HEADFIRST_OR_BF16 = 32
};

/* One entry of an op's field list. */
typedef struct headfirst_field {
  const char* name;
  int32_t kind;               /* headfirst_kind */
  uint32_t flags;             /* of a tensor */
  const char* dims;           /* of a tensor, e.g. "N C": equal names are equal sizes */
  const char* const* choices; /* of a choice */
  int32_t choice_count;
  double number; /* default of a scalar; of a choice its index */
} headfirst_field;

typedef struct headfirst_op {
  const char* name;
  const headfirst_field* fields;
  int32_t field_count;
  const void* internal;
} headfirst_op;

typedef struct headfirst_options {
  size_t size;         /* sizeof(headfirst_options) */
  const char* backend; /* "avx512", "avx2", "base", "reference32", "reference64" (float64 numbers); null = the
                          best of this machine */
  int32_t threads;     /* 0 = 1; results do not depend on it */
} headfirst_options;

typedef struct headfirst_error {
  int32_t status;
  char message[1024];
} headfirst_error;

typedef struct headfirst_api_table {
  uint32_t version;            /* HEADFIRST_API_VERSION of the addon */
  const char* package_version; /* of the package, e.g. "0.1.0" */
  int32_t op_count;
  const headfirst_op* (*op_at)(int32_t index);
  const headfirst_op* (*find_op)(const char* name); /* null when there is none */
  const char* (*status_name)(int32_t status);       /* "ERR_SHAPE" and so on, as error.code in JavaScript */
  /* Checks the arguments, then runs on the calling thread and `threads` − 1 others. `options` and `error` may
   * be null. */
  int32_t (*run)(const headfirst_op* op, const headfirst_argument* arguments, int32_t count,
                 const headfirst_options* options, headfirst_error* error);
  /* FLOPs and compulsory bytes of that call. */
  int32_t (*cost)(const headfirst_op* op, const headfirst_argument* arguments, int32_t count, double* flops,
                  double* bytes, headfirst_error* error);
} headfirst_api_table;

/* The addon's one exported function: null when `version` is newer than the addon's. Ask for
 * HEADFIRST_API_VERSION. */
#define HEADFIRST_API_SYMBOL "headfirst_api"
typedef const headfirst_api_table* (*headfirst_api_function)(uint32_t version);

static inline headfirst_argument headfirst_tensor(const char* name, headfirst_view view) {
  headfirst_argument argument;
  memset(&argument, 0, sizeof(argument));
  argument.name = name;
  argument.view = view;
  return argument;
}
static inline headfirst_argument headfirst_vector(const char* name, void* data, headfirst_dtype dtype,
                                                  int64_t size) {
  headfirst_view view;
  memset(&view, 0, sizeof(view));
  view.data = data;
  view.dtype = dtype;
  view.rank = 1;
  view.shape[0] = size;
  view.stride[0] = 1;
  return headfirst_tensor(name, view);
}
/* Contiguous rows. */
static inline headfirst_argument headfirst_matrix(const char* name, void* data, headfirst_dtype dtype,
                                                  int64_t rows, int64_t columns) {
  headfirst_view view;
  memset(&view, 0, sizeof(view));
  view.data = data;
  view.dtype = dtype;
  view.rank = 2;
  view.shape[0] = rows;
  view.stride[0] = columns;
  view.shape[1] = columns;
  view.stride[1] = 1;
  return headfirst_tensor(name, view);
}
/* Also integers and flags (0 or 1). */
static inline headfirst_argument headfirst_number(const char* name, double number) {
  headfirst_argument argument;
  memset(&argument, 0, sizeof(argument));
  argument.name = name;
  argument.number = number;
  return argument;
}
static inline headfirst_argument headfirst_choice(const char* name, const char* choice) {
  headfirst_argument argument;
  memset(&argument, 0, sizeof(argument));
  argument.name = name;
  argument.choice = choice;
  return argument;
}

#if !defined(_WIN32) && !defined(HEADFIRST_NO_DLOPEN)
#include <dlfcn.h>
/* The table of the addon at `addon_path`; in a Node.js process that has loaded it, that very copy. Null:
 * dlerror() says why, or it is older than this header. */
static inline const headfirst_api_table* headfirst_open(const char* addon_path) {
  void* library = dlopen(addon_path, RTLD_LAZY | RTLD_LOCAL);
  if (!library) return NULL;
  headfirst_api_function function;
  *(void**)&function = dlsym(library, HEADFIRST_API_SYMBOL);
  return function ? function(HEADFIRST_API_VERSION) : NULL;
}
#endif

#ifdef __cplusplus
}
#endif
#endif /* HEADFIRST_H */
