"""How gpu.py warms a form up, times it, and reports it."""
import gc
import json
import statistics
import sys
import time

import torch

WARM_UP = 3


def clean(run):
    gc.collect()
    if run.cuda:
        torch.cuda.empty_cache()


def warm(run, form):
    """Runs the form WARM_UP times and compares its answer with that of the row's first form."""
    try:
        began = time.perf_counter()
        for i in range(WARM_UP):
            if run.cuda:
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
            got = form.body()
            run.synchronize()
            if run.cuda:
                form.extra = torch.cuda.max_memory_allocated() - held
            if i == 0:
                seconds = time.perf_counter() - began
                print(f"gpu.py: {form.row}, {form.name}: first call {seconds:.1f} s", file=sys.stderr, flush=True)
            if form.kernel or i < WARM_UP - 1:
                got = None
        got = got() if callable(got) else got
        if got is not None:
            form.difference = run.difference(got, run.expected.setdefault(form.row, got))
    except Exception as error:
        form.error = form.error or describe(error)
    form.warm = True
    got = None
    clean(run)


def describe(error):
    return f"{type(error).__name__}: {str(error).strip()[:400]}"


def by_events(form):
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(form.least)]
    for begin, end in events:
        begin.record()
        form.body()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in events]


def by_clock(run, form):
    seconds, deadline = [], time.perf_counter() + form.seconds
    while len(seconds) < form.least or (len(seconds) < 20 and time.perf_counter() < deadline):
        run.synchronize()
        began = time.perf_counter()
        form.body()
        run.synchronize()
        seconds.append(time.perf_counter() - began)
    return seconds


def report(run, form):
    line = dict(row=form.row, form=form.name)
    if not form.warm:
        warm(run, form)
    try:
        if form.error:
            raise RuntimeError(form.error)
        seconds = sorted(by_events(form) if form.kernel and run.cuda else by_clock(run, form))
        median, n = statistics.median(seconds), len(seconds)
        line.update(
            milliseconds=median * 1e3,
            spread=(seconds[3 * n // 4] - seconds[n // 4]) / median,
            samples=n,
            extraBytes=form.extra,
            difference=form.difference,
            note=form.note(median),
        )
    except Exception as error:
        line.update(error=form.error or describe(error))
    print(json.dumps(dict(line, on=run.on)), flush=True)
    clean(run)
