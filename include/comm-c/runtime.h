/*===- comm-c/runtime.h - run a compiled executable ---------------------*- C -*-===*
 * C99; opaque handles. A session is used by one thread at a time. No exception leaves a call.
 *===----------------------------------------------------------------------------===*/
#ifndef COMM_C_RUNTIME_H
#define COMM_C_RUNTIME_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct comm_executable comm_executable;
typedef struct comm_session comm_session;

typedef enum {
  COMM_OK = 0,
  COMM_INTERNAL,         /* a defect of the runtime */
  COMM_INVALID_ARGUMENT, /* the caller's fault: names, shapes, types */
  COMM_BAD_EXECUTABLE,   /* malformed, wrong version, weights missing or changed */
  COMM_UNTRUSTED,        /* native code that is neither allowed by hash nor by flag */
  COMM_UNSUPPORTED,      /* an operation this runtime does not know */
  COMM_OUT_OF_MEMORY,
  COMM_DEVICE_MISSING, /* this CPU cannot run the code */
  COMM_PEER_LOST,      /* a rank died or refused */
  COMM_TIMEOUT         /* a wait passed its deadline */
} comm_status;

/* Same numbers as comm::exe::DType. */
typedef enum {
  COMM_F32 = 0,
  COMM_F16,
  COMM_BF16,
  COMM_F64,
  COMM_I64,
  COMM_I32,
  COMM_I16,
  COMM_I8,
  COMM_U64,
  COMM_U32,
  COMM_U16,
  COMM_U8,
  COMM_BOOL
} comm_dtype;

/* A named tensor. Row-major, contiguous. `bytes` must be the product of dims times the element width. */
typedef struct {
  const char *name;
  comm_dtype dtype;
  int32_t rank;
  const int64_t *dims;
  void *data;
  size_t bytes;
} comm_tensor;

typedef enum { COMM_RANKS_PROCESSES = 0, COMM_RANKS_THREADS } comm_ranks_as;

/* Shared memory: the session starts its ranks. MPI: this process is one of them, started by mpirun; every rank makes
 * the same calls in the same order with the same inputs and gets the same outputs. One session over MPI per process. */
typedef enum { COMM_TRANSPORT_SHM = 0, COMM_TRANSPORT_MPI } comm_transport;

/* Kernels run as native code where that is trusted and made for this CPU, else they are interpreted from what the
 * executable declares that they compute. Required: COMM_UNTRUSTED or COMM_DEVICE_MISSING instead. Never: always
 * interpreted. */
typedef enum { COMM_NATIVE_TRUSTED = 0, COMM_NATIVE_REQUIRED, COMM_NATIVE_NEVER } comm_native_code;

/* Compute threads on CPUs of their own. Auto: when there are several, on more than half of the CPUs that this process
 * may use, each on another one. On: whenever no CPU is taken twice. One rank in this process: during runs, the calling
 * thread too. */
typedef enum { COMM_PIN_AUTO = 0, COMM_PIN_ON, COMM_PIN_OFF } comm_pinning;

typedef struct {
  size_t struct_size; /* sizeof(comm_session_options): old callers may meet new libraries */
  comm_ranks_as ranks_as;
  int32_t reference;    /* 1: run the unsplit one-rank program */
  int32_t trust_native; /* 1: run native code whatever the allow list says */
  int32_t trace;        /* 1: record events for comm_session_trace */
  int32_t threads;      /* compute threads per rank; 0: one */
  int64_t timeout_ms;   /* deadline of every wait for another rank; 0: 60 s */
  const char *link;     /* "1Gbit,50us": a link between ranks that is emulated in shared memory; NULL: none */
  comm_transport transport;
  comm_native_code native_code;
  comm_pinning pinning;
  /* Where weights are kept in the form that kernels read, for later sessions: "beside" or NULL: in the folder
   * <executable>.packed; "off": nowhere; else a folder that holds such a folder. Where nothing can be written they are
   * packed anew. */
  const char *packed_cache;
} comm_session_options;

typedef struct {
  size_t struct_size;
  double last_ms;               /* wall time of the last run, all ranks */
  double wait_ms_max;           /* longest time a rank's compute waited for communication in the last run */
  int64_t bytes_sent_per_rank;  /* largest over ranks, last run */
  int64_t collectives_planned;  /* per rank and run */
  int64_t collectives_executed; /* smallest over ranks, last run */
  int64_t arena_bytes;          /* per rank */
  int64_t weight_bytes;         /* per rank, packed */
  int64_t ranks;
  /* Of the last run. Communication: time in which data of collectives moved, from the moment all ranks had come; mean
   * over ranks. It was hidden, or exposed where compute stood waiting meanwhile; the two add up. Late: compute waited
   * for ranks that had not come yet, which no faster link would change. Compute: the run less all waits, largest over
   * ranks. */
  double compute_ms, communication_ms, hidden_ms, exposed_ms, late_ms;
  int64_t rank;        /* that this process is over MPI; else 0 */
  int64_t kernels;     /* calls of compiled kernels in the entry that ran last; before the first run, in entry 0 */
  int64_t interpreted; /* those of them that are interpreted: none or all */
  int64_t pinned;      /* 1: every compute thread has a CPU of its own */
  double outside_ms;   /* with tracing: the last run less its commands and waits, largest over ranks; else 0 */
  /* Packed weights. Of weight_bytes, those in memory that ranks of this machine share; then over all ranks that this
   * process started: packed anew, read from files, and written to files. */
  int64_t weight_bytes_shared, weight_bytes_packed, weight_bytes_read, weight_bytes_kept;
  /* The most memory that a rank had in use and that no file backs, seen while loading and after runs 1, 2, 4, ...;
   * largest over ranks. Of one rank in this process, or over MPI: what the process grew by since the session was made.
   * 0: not known, as of ranks that are threads. */
  int64_t peak_bytes;
  /* Inputs and outputs in the last run: bytes copied between the caller's buffers and memory that the ranks see, and by
   * the ranks between whole tensors and their parts, over all ranks. */
  int64_t bytes_passed, bytes_parted;
} comm_session_stats;

/* One collective of the last run; times as in comm_session_stats, mean over ranks. */
typedef struct {
  size_t struct_size;
  const char *op;    /* "all_reduce", ...; lives as long as the session, as the label */
  const char *label; /* source node; may be empty */
  int64_t command;   /* position in the program */
  int32_t started;   /* 1: started and waited for later; 0: compute does nothing meanwhile */
  int64_t bytes;     /* of the operand or the result, whichever is larger */
  int64_t bytes_sent_per_rank;
  double communication_ms, hidden_ms, exposed_ms, late_ms;
} comm_collective_stats;

/* Reads and checks a file. Weight files are looked up beside it. */
comm_status comm_executable_load(const char *path, comm_executable **out);
void comm_executable_free(comm_executable *);
const char *comm_executable_hash(const comm_executable *);
int32_t comm_executable_entry_count(const comm_executable *);
const char *comm_executable_entry_name(const comm_executable *, int32_t entry);
/* Inputs (outputs = 0) or outputs (1) of an entry: fills name, dtype, rank, dims; data is NULL. Strings and dims live
 * as long as the executable. */
int32_t comm_executable_port_count(const comm_executable *, int32_t entry, int32_t outputs);
comm_status comm_executable_port(const comm_executable *, int32_t entry, int32_t outputs, int32_t index,
                                 comm_tensor *out);
/* What the compiler predicted, by name ("step_us.<entry>"); NaN when it said nothing. */
double comm_executable_prediction(const comm_executable *, const char *name);
/* State pairs of an entry: input and output names. */
int32_t comm_executable_state_count(const comm_executable *, int32_t entry);
comm_status comm_executable_state(const comm_executable *, int32_t entry, int32_t index, const char **input,
                                  const char **output);

/* An entry may take inputs that are smaller than its own in some dimensions (see comm_session_run). */
/* The entry for these inputs: one of exactly their shapes, else the smallest that takes them; -1: none. Of the tensors
 * only name, rank and dims are read; those that an entry does not have are passed over. */
int32_t comm_executable_entry_for(const comm_executable *, const comm_tensor *inputs, int32_t n_inputs);
/* Dimensions of an output when `entry` runs these inputs; `dims` has room for its rank. COMM_INVALID_ARGUMENT when the
 * entry does not take them. */
comm_status comm_executable_output_dims(const comm_executable *, int32_t entry, const comm_tensor *inputs,
                                        int32_t n_inputs, int32_t output, int64_t *dims);

/* Starts the ranks and loads their weights. */
comm_status comm_session_create(const comm_executable *, const comm_session_options *, comm_session **out);
/* One run of `entry`. Inputs by name, any order, all of them; each output buffer is the caller's. Buffers are borrowed
 * for the call. While the session carries state, state inputs may be left out; outputs may be left out always. Inputs
 * that are smaller than the entry's are filled up with zeros and outputs cut, where the compiler has made the entry for
 * that; outputs then have the dimensions of comm_executable_output_dims. A session that carries state does not. */
comm_status comm_session_run(comm_session *, int32_t entry, const comm_tensor *inputs, int32_t n_inputs,
                             comm_tensor *outputs, int32_t n_outputs);
/* Where the ranks themselves read an input or write an output of `entry`: a tensor of a run whose data is this address
 * is not copied. NULL when there is no such place: with one rank, which uses the caller's buffers as they are, over
 * MPI, and for states that the session carries. The places of one entry do not overlap; runs that do not use them, and
 * runs of other entries, write over them. Valid as long as the session. */
comm_status comm_session_memory(comm_session *, int32_t entry, int32_t outputs, int32_t index, void **out);
/* What becomes of the state outputs of a run (comm_executable_state lists the pairs). NONE: the caller carries them, as
 * after create. Else the session keeps them, known by the name of the input, and a later run of any entry that does not
 * give the input reads them; a state that is not there yet is zeros. Where the shapes differ along one dimension, FIRST
 * takes the first positions that the input has room for, zeros behind them, LAST the last ones, zeros in front; EXACT
 * refuses. A state input that is given goes before the kept one. After a failed run the state is what that run was to
 * read. Where ranks hold input and output in the same way, every rank keeps its part and runs do not pass it (see
 * bytes_passed). A call of this function forgets the state. Over MPI every rank makes the same calls. */
typedef enum { COMM_STATE_NONE = 0, COMM_STATE_EXACT, COMM_STATE_FIRST, COMM_STATE_LAST } comm_state_mode;
comm_status comm_session_keep_state(comm_session *, comm_state_mode);
/* Begins anew: forgets the state and keeps the mode. */
comm_status comm_session_reset_state(comm_session *);
/* Copies a state in, by the name of its input; it may have any size along the dimension in which the state grows. */
comm_status comm_session_set_state(comm_session *, const comm_tensor *state);
/* Fills dtype, rank, dims and bytes of the kept state `input`, and copies the values where out->data is not NULL and
 * out->bytes suffice. name and dims belong to the session and hold until its next call. */
comm_status comm_session_get_state(comm_session *, const char *input, comm_tensor *out);
comm_status comm_session_stats_get(const comm_session *, comm_session_stats *out);
/* Collectives of the last run, in the order of issue. */
int32_t comm_session_collective_count(const comm_session *);
comm_status comm_session_collective(const comm_session *, int32_t index, comm_collective_stats *out);
/* 0: later runs execute each collective where it is started, so that nothing is hidden; for comparison. 1: as planned.
 */
comm_status comm_session_set_overlap(comm_session *, int32_t overlap);
/* The emulated link in words, "native" when there is none. */
const char *comm_session_link(const comm_session *);
/* The folder of packed weights, "" when they are not kept. */
const char *comm_session_packed_folder(const comm_session *);
/* Chrome trace JSON of the last run, owned by the session, valid until its next call; NULL when tracing is off. */
const char *comm_session_trace(comm_session *);
void comm_session_free(comm_session *);

/* Text of this thread's last failure, never NULL, valid until its next comm_ call. */
const char *comm_last_error(void);
const char *comm_runtime_version(void);
/* Records an executable's hash in this user's allow list (mode 0600), so that its native code runs. */
comm_status comm_trust_executable(const char *hash);

#ifdef __cplusplus
}
#endif
#endif /* COMM_C_RUNTIME_H */
