#include "emulation/machine.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <numeric>

#include "core/error.h"
#include "emulation/fiber.h"

namespace hf::emulation {
namespace {

constexpr size_t kStackBytes = 128 << 10;
// Of a block on sm_80.
constexpr int kMostThreads = 1024;
constexpr int kMostSharedBytes = 163 << 10;

enum class State : uint8_t { kReady, kAtBarrier, kInWarp, kDone };

struct AsyncCopy {
  int64_t offset;
  int bytes;
  std::vector<char> data;
};

// Who touched a word of shared memory last, and in which interval between barriers of the block and of the
// warp. −1 stands for nobody.
struct Word {
  int16_t writer = -1;
  int16_t reader = -1;       // −2: several threads
  int16_t reader_warp = -1;  // −2: threads of several warps
  bool in_flight = false;    // an asynchronous copy to it has not been waited for
  uint32_t write_interval = 0;
  uint32_t write_warp_interval = 0;
  uint32_t read_interval = 0;
  uint32_t read_warp_interval = 0;
};

struct WarpMeeting {
  const char* name = nullptr;
  unsigned arrived = 0, mask = 0;
  const void* in[kLanes];
  void* out[kLanes];
};

}  // namespace

struct Thread {
  Fiber fiber;
  State state;
  Position position;
  int index, lane, warp;
  uint32_t interval, warp_interval;
  int taken;  // bytes of shared memory handed out so far
  int barrier_value;
  std::vector<AsyncCopy> open;  // of the group being filled
  std::vector<std::vector<AsyncCopy>> groups;
};

namespace {

// One per host thread that launches; stacks and tables are kept between launches.
struct Machine {
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<char*> stacks;
  std::vector<WarpMeeting> warps;
  std::vector<char> shared;
  std::vector<Word> words;
  int shared_bytes = 0, count = 0, at_barrier = 0, done = 0, barrier_total = 0;
  Thread* running = nullptr;
  Fiber scheduler;
  const std::function<void()>* body = nullptr;
  std::exception_ptr error;
  uint64_t random = 0;

  ~Machine() {
    for (char* stack : stacks)
      munmap(stack, kStackBytes);
  }
  uint64_t next_random() {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return random;
  }
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[next_random() % i]);
  }
};

// The machine of the launch under way. A plain pointer, because every access to shared memory asks for it.
thread_local Machine* active = nullptr;
Machine& machine() {
  return *active;
}

uint64_t seed() {
  const char* text = std::getenv("HEADFIRST_EMULATION_SEED");
  return text && *text ? std::strtoull(text, nullptr, 10) : 1;
}

// Every fiber enters here once. The catch ends unwinding, because nothing may leave a fiber.
void enter() {
  Machine& m = machine();
  try {
    (*m.body)();
  } catch (...) {
    if (!m.error) m.error = std::current_exception();
  }
  m.running->state = State::kDone;
  ++m.done;
  switch_fiber(m.running->fiber, m.scheduler);
}

void wait_in(State state) {
  Machine& m = machine();
  Thread& self = *m.running;
  self.state = state;
  switch_fiber(self.fiber, m.scheduler);
}

std::string who(const Thread& t) {
  char text[160];
  const Position& p = t.position;
  std::snprintf(text, sizeof text, "block (%u, %u, %u), thread %d", p.block_index.x, p.block_index.y,
                p.block_index.z, t.index);
  return text;
}

void release_barrier(Machine& m) {
  m.barrier_total = 0;
  for (int i = 0; i < m.count; ++i)
    m.barrier_total += m.threads[i]->barrier_value;
  for (int i = 0; i < m.count; ++i) {
    Thread& t = *m.threads[i];
    t.state = State::kReady;
    ++t.interval;
    ++t.warp_interval;
  }
  m.at_barrier = 0;
}

void start_block(Machine& m, Dim3 grid, Dim3 block, Dim3 index) {
  // Memory that nothing wrote reads as NaN, and is reported.
  std::memset(m.shared.data(), 0xff, static_cast<size_t>(m.shared_bytes));
  std::fill_n(m.words.begin(), (m.shared_bytes + 3) / 4, Word{});
  for (WarpMeeting& warp : m.warps)
    warp = WarpMeeting{};
  for (int i = 0; i < m.count; ++i) {
    Thread& t = *m.threads[i];
    t.state = State::kReady;
    t.index = i;
    t.lane = i % kLanes;
    t.warp = i / kLanes;
    t.interval = t.warp_interval = 1;
    t.taken = 0;
    t.barrier_value = 0;
    t.open.clear();
    t.groups.clear();
    const unsigned n = unsigned(i);
    const Dim3 thread_index(n % block.x, n / block.x % block.y, n / (block.x * block.y));
    t.position = {thread_index, index, block, grid};
    t.fiber = make_fiber(m.stacks[i], kStackBytes, enter);
  }
  m.at_barrier = m.done = 0;
}

// Runs every thread that is ready until it waits or ends; false when none is.
bool run_ready_threads(Machine& m, std::vector<int>& order) {
  std::iota(order.begin(), order.end(), 0);
  m.shuffle(order);
  bool moved = false;
  for (int i : order) {
    Thread& t = *m.threads[i];
    if (t.state != State::kReady) continue;
    moved = true;
    m.running = &t;
    switch_fiber(m.scheduler, t.fiber);
    m.running = nullptr;
    if (m.error) std::rethrow_exception(std::exchange(m.error, nullptr));
  }
  return moved;
}

// No thread can go on: fails with what one of them waits for.
void report_deadlock(const Machine& m) {
  for (int i = 0; i < m.count; ++i) {
    const Thread& t = *m.threads[i];
    if (t.state == State::kInWarp)
      fail(ErrorCode::kCuda, "emulation: %s waits in %s for lanes of its warp that do something else",
           who(t).c_str(), m.warps[t.warp].name);
  }
  for (int i = 0; i < m.count; ++i)
    if (m.threads[i]->state == State::kAtBarrier)
      fail(ErrorCode::kCuda, "emulation: %s waits at a barrier that %d of %d threads never reach",
           who(*m.threads[i]).c_str(), m.count - m.at_barrier, m.count);
}

void run_block(Machine& m, Dim3 grid, Dim3 block, Dim3 index) {
  start_block(m, grid, block, index);
  std::vector<int> order(m.count);
  while (m.done < m.count) {
    if (run_ready_threads(m, order)) continue;
    if (m.at_barrier == m.count)
      release_barrier(m);
    else
      report_deadlock(m);
  }
}

}  // namespace

Thread& current() {
  return *machine().running;
}
const Position& position() {
  return current().position;
}

void stop(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fail(ErrorCode::kCuda, "emulation: %s: %s", who(current()).c_str(), text);
}

char* shared_memory() {
  return machine().shared.data();
}

int take_shared(int bytes) {
  Thread& t = current();
  const int begin = t.taken;
  t.taken += (bytes + 15) / 16 * 16;
  if (t.taken > machine().shared_bytes)
    stop("%d bytes of shared memory taken, but the launch gave %d", t.taken, machine().shared_bytes);
  return begin;
}

namespace {

// Whether a barrier comes between an earlier access of another thread and one that `t` makes now: one of the
// block, or one of the warp when both threads are in it.
bool ordered(const Thread& t, uint32_t interval, bool same_warp, uint32_t warp_interval) {
  if (interval != t.interval) return true;
  return same_warp && warp_interval < t.warp_interval;
}

void check_last_write(const Word& word, int64_t index, const Thread& t, Access access) {
  if (word.writer < 0 || word.writer == t.index) return;
  const bool same_warp = word.writer / kLanes == t.warp;
  if (ordered(t, word.write_interval, same_warp, word.write_warp_interval)) return;
  stop("race on shared word %lld: thread %d wrote it and no barrier comes before this %s",
       static_cast<long long>(index), word.writer, access == Access::kRead ? "read" : "write");
}

void check_last_reads(const Word& word, int64_t index, const Thread& t) {
  if (word.reader == -1 || word.reader == t.index) return;
  if (ordered(t, word.read_interval, word.reader_warp == t.warp, word.read_warp_interval)) return;
  char reader[32];
  if (word.reader >= 0)
    std::snprintf(reader, sizeof reader, "thread %d", word.reader);
  else
    std::snprintf(reader, sizeof reader, "several threads");
  stop("race on shared word %lld: read by %s and no barrier comes before this write",
       static_cast<long long>(index), reader);
}

void note_read(Word& word, const Thread& t) {
  // Readers that a barrier orders before this read need not be remembered.
  const bool together = !ordered(t, word.read_interval, word.reader_warp == t.warp, word.read_warp_interval);
  const bool other_reader = together && word.reader != t.index && word.reader != -1;
  const bool other_warp = together && word.reader_warp != t.warp && word.reader_warp != -1;
  word.reader = other_reader ? int16_t(-2) : int16_t(t.index);
  word.reader_warp = other_warp ? int16_t(-2) : int16_t(t.warp);
  word.read_warp_interval = together ? std::max(word.read_warp_interval, t.warp_interval) : t.warp_interval;
  word.read_interval = t.interval;
}

void note_write(Word& word, const Thread& t) {
  word.writer = int16_t(t.index);
  word.write_interval = t.interval;
  word.write_warp_interval = t.warp_interval;
}

}  // namespace

void access_shared(Access access, int64_t offset, int bytes, int piece_begin, int piece_bytes) {
  Machine& m = machine();
  const Thread& t = *m.running;
  if (offset < piece_begin || offset + bytes > piece_begin + piece_bytes)
    stop("shared index out of bounds: byte %lld of a piece of %d bytes",
         static_cast<long long>(offset - piece_begin), piece_bytes);
  for (int64_t w = offset / 4; w <= (offset + bytes - 1) / 4; ++w) {
    Word& word = m.words[static_cast<size_t>(w)];
    if (word.in_flight)
      stop("shared word %lld is used before the asynchronous copy to it was waited for",
           static_cast<long long>(w));
    check_last_write(word, w, t, access);
    if (access == Access::kRead) {
      if (word.writer < 0)
        stop("shared word %lld is read before anything wrote it", static_cast<long long>(w));
      note_read(word, t);
    } else {
      check_last_reads(word, w, t);
      note_write(word, t);
    }
  }
}

void copy_async(int64_t offset, int bytes, int piece_begin, int piece_bytes, const void* from, bool valid) {
  Thread& t = current();
  if (offset % bytes != 0)
    stop("asynchronous copy of %d bytes to the misaligned shared byte %lld", bytes,
         static_cast<long long>(offset));
  if (valid && reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(bytes) != 0)
    stop("asynchronous copy of %d bytes from a misaligned address", bytes);
  access_shared(Access::kWrite, offset, bytes, piece_begin, piece_bytes);
  for (int64_t w = offset / 4; w < (offset + bytes) / 4; ++w)
    machine().words[static_cast<size_t>(w)].in_flight = true;
  std::memset(shared_memory() + offset, 0xff, static_cast<size_t>(bytes));
  AsyncCopy copy{offset, bytes, std::vector<char>(static_cast<size_t>(bytes), 0)};
  if (valid) std::memcpy(copy.data.data(), from, static_cast<size_t>(bytes));
  t.open.push_back(std::move(copy));
}

void commit_async() {
  Thread& t = current();
  t.groups.push_back(std::move(t.open));
  t.open.clear();
}

void wait_async(int pending) {
  Thread& t = current();
  while (int(t.groups.size()) > pending) {
    for (const AsyncCopy& copy : t.groups.front()) {
      for (int64_t w = copy.offset / 4; w < (copy.offset + copy.bytes) / 4; ++w) {
        Word& word = machine().words[static_cast<size_t>(w)];
        word.in_flight = false;
        note_write(word, t);
      }
      std::memcpy(shared_memory() + copy.offset, copy.data.data(), copy.data.size());
    }
    t.groups.erase(t.groups.begin());
  }
}

int barrier(int value) {
  Machine& m = machine();
  m.running->barrier_value = value;
  ++m.at_barrier;
  wait_in(State::kAtBarrier);
  return m.barrier_total;
}

void meet(const char* name, unsigned mask, const void* in, void* out,
          void (*combine)(const void* const*, void* const*, unsigned)) {
  Machine& m = machine();
  Thread& t = *m.running;
  WarpMeeting& warp = m.warps[static_cast<size_t>(t.warp)];
  if (!(mask >> t.lane & 1)) stop("%s: the mask %08x lacks the calling lane", name, mask);
  if (warp.arrived == 0) {
    warp.name = name;
    warp.mask = mask;
  }
  if (warp.mask != mask || std::strcmp(warp.name, name) != 0)
    stop("lanes of one warp meet in different functions: %s (mask %08x) and %s (mask %08x)", warp.name,
         warp.mask, name, mask);
  warp.in[t.lane] = in;
  warp.out[t.lane] = out;
  warp.arrived |= 1u << t.lane;
  if (warp.arrived != mask) {
    wait_in(State::kInWarp);
    return;
  }
  if (combine) combine(warp.in, warp.out, mask);
  warp.arrived = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    const int thread = t.warp * kLanes + lane;
    if (mask >> lane & 1 && lane != t.lane) m.threads[static_cast<size_t>(thread)]->state = State::kReady;
  }
}

void warp_barrier(unsigned mask) {
  meet("__syncwarp", mask, nullptr, nullptr, nullptr);
  ++current().warp_interval;
}

namespace {

void check_launch(Dim3 grid, int64_t count, int shared_bytes) {
  if (count < 1 || count > kMostThreads)
    fail(ErrorCode::kCuda, "emulation: a block of %lld threads", static_cast<long long>(count));
  if (shared_bytes > kMostSharedBytes)
    fail(ErrorCode::kCuda, "emulation: a block of %d bytes of shared memory; sm_80 has %d", shared_bytes,
         kMostSharedBytes);
  if (grid.y > 65535 || grid.z > 65535)
    fail(ErrorCode::kCuda, "emulation: a grid of (%u, %u, %u) blocks; y and z go up to 65535", grid.x, grid.y,
         grid.z);
}

// Makes room for a launch of blocks of m.count threads.
void make_room(Machine& m, size_t shared_bytes) {
  const size_t words = (shared_bytes + 3) / 4;
  if (m.shared.size() < shared_bytes) m.shared.resize(shared_bytes);
  if (m.words.size() < words) m.words.resize(words);
  m.warps.assign(static_cast<size_t>((m.count + kLanes - 1) / kLanes), WarpMeeting{});
  while (int(m.threads.size()) < m.count) {
    m.threads.push_back(std::make_unique<Thread>());
    void* stack =
        mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
      fail(ErrorCode::kOutOfMemory, "emulation: no memory for the stacks of %d threads", m.count);
    m.stacks.push_back(static_cast<char*>(stack));
  }
}

}  // namespace

void run_grid(Dim3 grid, Dim3 block, int shared_bytes, const std::function<void()>& body) {
  const int64_t count = int64_t{block.x} * block.y * block.z;
  check_launch(grid, count, shared_bytes);
  thread_local Machine instance;
  Machine& m = instance;
  active = &m;
  m.count = int(count);
  m.shared_bytes = shared_bytes;
  m.body = &body;
  m.error = nullptr;
  m.random = 0x9E3779B97F4A7C15u ^ (seed() * 0xD1342543DE82EF95u);
  make_room(m, static_cast<size_t>(shared_bytes));
  std::vector<int64_t> order(static_cast<size_t>(int64_t{grid.x} * grid.y * grid.z));
  std::iota(order.begin(), order.end(), int64_t{0});
  m.shuffle(order);
  for (int64_t b : order) {
    const int64_t layer = int64_t{grid.x} * grid.y;
    const Dim3 index(unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / layer));
    run_block(m, grid, block, index);
  }
}

}  // namespace hf::emulation
