"""Times a training step of optogen beside JAX and PyTorch doing the same, in turns, and writes the table.

    python benches/compare.py OPTOGEN [--rounds N] [--out BENCHMARKS.md] [--torch]

OPTOGEN is the program; its benchmarks are built first. Each round runs every row once, so that a slow moment of the machine meets all of them; the
medians are kept. The rows are written to benchmarks.parquet as well, how the cost of a step grows to benchmarks-growth.parquet and docs/growth.svg;
what clamps cost, and whole runs of the base experiment, are timed at the end.
"""

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

# One core's products are measured: numpy must not use the others.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = os.path.dirname(os.path.abspath(__file__))
THREADS = os.cpu_count()

# Case, models, threads of optogen (none: a peer), form of a peer, steps a run.
ROWS = [
    ("ih_base", "optogen, one model, one thread", "optogen", 1, 1, 3000),
    ("ih_base", f"optogen, 8 models, {THREADS} threads", "optogen", 8, THREADS, 1000),
    ("ih_base", "JAX, one model", "jax", 1, "plain", 1000),
    ("ih_base", "JAX, 8 models (vmap and scan)", "jax", 8, "population", 200),
    ("ih_base", "JAX, 8 models (the same, sharded)", "jax", 8, "sharded", 300),
    ("c_base", "optogen, one model, one thread", "optogen", 1, 1, 200),
    ("c_base", f"optogen, 2 models, {THREADS} threads", "optogen", 2, THREADS, 120),
    ("c_base", "JAX, one model", "jax", 1, "plain", 120),
    ("c_base", "JAX, 2 models (vmap, scan, sharded)", "jax", 2, "sharded", 30),
    ("depth12", "optogen, one model, one thread", "optogen", 1, 1, 60),
    ("depth12", f"optogen, 2 models, {THREADS} threads", "optogen", 2, THREADS, 40),
    ("depth12", "JAX, one model", "jax", 1, "plain", 20),
    ("depth12", "JAX, 2 models (vmap, scan, sharded)", "jax", 2, "sharded", 15),
]
TORCH = [(case, "PyTorch, one model", "torch", 1, "plain", steps) for case, steps in [("ih_base", 200), ("c_base", 40), ("depth12", 15)]]


def built(*names):
    """The programs of benchmarks, by name."""
    benches = [argument for name in names for argument in ("--bench", name)]
    command = ["cargo", "bench", "-p", "optogen-tests", *benches, "--no-run", "--message-format=json-render-diagnostics"]
    messages = map(json.loads, subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines())
    programs = {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}
    return [programs[name] for name in names]


def products(case):
    """Floating-point operations of the matrix products of one step, forward and backward, of one model."""
    if case == "depth12":
        layers, hidden, pairs, outputs, classes, drawn = 12, 256, 9, 1600, 1600, 4
    else:
        layers, hidden, pairs, drawn = 2, 0, 3, 2
        outputs, classes = (5, 50) if case == "ih_base" else (12800, 12800)
    width, batch, features = 64, 32, 512
    # Classes that a batch is expected to show, each embedded once: `drawn` a sequence, the query's among them, all with one exemplar.
    distinct = classes * (1 - (1 - 1 / classes) ** (batch * drawn))
    rows = batch * (2 * pairs - 1)
    block = rows * (3 * width * width + width * width + 2 * width * hidden)
    # The embedding's input needs no gradient; only the query is unembedded.
    return 2 * (2 * distinct * features * width + 3 * layers * block + 3 * batch * width * outputs)


# How the cost of a step grows: what is varied from the base experiment, and by which keys.
GROWTH = [
    ("layers", [1, 2, 4, 8, 12], lambda n: [f"model.layers={n}"]),
    ("width", [32, 64, 128, 256], lambda n: [f"model.width={n}"]),
    ("context", [2, 4, 8, 16, 32], lambda n: [f"data.mixture.0.context={n}", f"data.mixture.0.burstiness={n // 2}", "evaluator="]),
    ("labels", [5, 50, 500, 5000], lambda n: [f"data.relabel={{ labels = {n} }}", "evaluator="]),
    ("models", [1, 2, 4, 8, 16, 32], lambda n: []),
]


def grow(binary):
    """Milliseconds a step and model as one thing grows, on all threads for several models and on one for one."""
    rows = []
    for name, sizes, keys in GROWTH:
        for size in sizes:
            models, threads = (size, THREADS) if name == "models" else (1, 1)
            command = [binary, "ih_base", str(models), str(threads), "60", "3", *keys(size)]
            output = subprocess.run(command, capture_output=True, text=True)
            if output.returncode:
                sys.exit(f"{' '.join(command)}\n{output.stderr[-2000:]}")
            times = [json.loads(line)["ms_per_model_step"] for line in output.stdout.splitlines() if line.startswith("{")]
            rows.append({"varied": name, "size": size, "ms_per_model_step": statistics.median(times)})
            print(f"growth: {name:8} {size:5} {rows[-1]['ms_per_model_step']:9.3f} ms", flush=True)
    return rows


def draw(rows, path):
    figure, panels = plt.subplots(1, len(GROWTH), figsize=(3 * len(GROWTH), 3), sharey=True)
    for panel, (name, sizes, _) in zip(panels, GROWTH):
        own = [row for row in rows if row["varied"] == name]
        panel.loglog([row["size"] for row in own], [row["ms_per_model_step"] for row in own], "o-", color="k")
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.minorticks_off()
        panel.set_xlabel(name)
    panels[0].set_ylabel("ms a step and model")
    figure.tight_layout()
    figure.savefig(path)


def measured_rate(binary):
    """Operations a second of one core in matrix products: the better of what numpy and optogen reach with large ones."""
    a, b = (np.random.default_rng(0).standard_normal((768, 768), dtype=np.float32) for _ in range(2))
    best = 0.0
    for _ in range(12):
        start = time.perf_counter()
        a @ b
        best = max(best, 2 * 768**3 / (time.perf_counter() - start))
    own = subprocess.run([binary, "products"], capture_output=True, text=True, check=True)
    return max(best, json.loads(own.stdout)["operations_per_second"])


def clamped(binary):
    """Lines on what clamps and hooks cost."""
    output = subprocess.run([binary], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^(.+?) +([\d.]+) \(from [\d.]+ to [\d.]+\) +([\d.]+)$", output, re.MULTILINE)
    if not rows:
        sys.exit(f"{binary} says nothing of clamps:\n{output[-2000:]}")
    return [
        "## What clamps cost",
        "",
        "Milliseconds of a step of one model on one thread, and how many times that of nobody there; medians of turns. Values and patterns of heads are",
        "clamped in the fused step; all others, here copy and layer 1, take the operations one by one. `cargo bench -p optogen-tests --bench clamps`",
        "",
        "| clamps, hooks | ms | |",
        "|---|---:|---:|",
        *(f"| {name} | {ms} | {float(times):.2f} × |" for name, ms, times in rows),
        "",
    ]


BASE = os.path.join(HERE, "..", "experiments", "induction", "base.toml")
# Stages that serve no step: they shall take less than 3 % together. In `report` tables are closed.
ASIDE = ["sample", "evaluate", "record", "checkpoint", "report"]


def whole_run(program, *arguments):
    """A run of the base experiment: seconds from launch to end, the share of each stage, megabytes of its own memory, median and most, those of the
    class bank, and sequences."""
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryFile() as printed:
        start = time.perf_counter()
        process = subprocess.Popen([program, "run", BASE, "--out", out, "--profile", *arguments], stdout=printed, stderr=subprocess.STDOUT)
        memory = []
        while process.poll() is None:
            with open(f"/proc/{process.pid}/status") as status:
                memory += [int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith("RssAnon")]
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        printed.seek(0)
        text = printed.read().decode()
    if process.returncode:
        sys.exit(f"{program} run {BASE}\n{text[-2000:]}")
    shares = {name: float(share) for name, share in re.findall(r"^(\w+) .* ([\d.]+) %$", text, re.MULTILINE)}
    [bank], [sequences] = (re.findall(pattern, text) for pattern in (r"the class bank ([\d.]+)", r"(\d+) of \d+ sequences,.* done"))
    return {
        "seconds": seconds,
        "shares": shares,
        "median": statistics.median(memory),
        "most": max(memory),
        "bank": float(bank),
        "sequences": int(sequences),
    }


def whole_runs(program, rounds):
    """Lines on whole runs."""
    one_step = statistics.median(
        whole_run(program, "--set", "train.sequences=32", "--set", "evaluator=[]", "--set", "checkpoint={}")["seconds"] for _ in range(rounds)
    )
    runs = [whole_run(program) for _ in range(rounds)]

    def median(of):
        return statistics.median(map(of, runs))

    aside = ", ".join(f"{name} {median(lambda run: run['shares'][name]):.1f}" for name in ASIDE)
    total = median(lambda run: sum(run["shares"][name] for name in ASIDE))
    return [
        "## A whole run",
        "",
        f"`optogen run experiments/induction/base.toml --profile`, {runs[0]['sequences']:,} sequences of one model, medians of {rounds}:",
        "",
        f"- {median(lambda run: run['seconds']):.1f} s from launch to end, evaluations, checkpoints and pictures included; a run of a single step, "
        f"from launch to end, {one_step:.2f} s.",
        f"- What serves no step: {aside}, together {total:.1f} % of the time.",
        f"- Memory of its own: {median(lambda run: run['median']):.0f} MB (the median over a run), at most {median(lambda run: run['most']):.0f}; "
        f"{runs[0]['bank']:.1f} of them are the class bank.",
        "",
    ]


def run(binary, row):
    case, _, peer, models, form, steps = row
    if peer == "optogen":
        command = [binary, case, str(models), str(form), str(steps), "1"]
    else:
        command = [sys.executable, os.path.join(HERE, "peers", f"{peer}_peer.py"), case, form, str(models), str(steps), "1"]
    output = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in output.stdout.splitlines() if line.startswith("{")]
    if output.returncode or not lines:
        sys.exit(f"{' '.join(command)}\n{output.stderr[-2000:]}")
    return json.loads(lines[-1])["ms_per_model_step"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="OPTOGEN")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="BENCHMARKS.md")
    parser.add_argument("--torch", action="store_true", help="with the PyTorch peer, where torch is installed")
    arguments = parser.parse_args()
    step, clamps = built("step", "clamps")
    rows = ROWS + (TORCH if arguments.torch else [])
    times = {row: [] for row in rows}
    for round_number in range(arguments.rounds):
        for row in rows:
            times[row].append(run(step, row))
            print(f"round {round_number + 1}: {row[0]:8} {row[1]:36} {times[row][-1]:9.3f} ms", flush=True)
    growth = grow(step)
    draw(growth, os.path.join(os.path.dirname(os.path.abspath(arguments.out)), "docs", "growth.svg"))
    further = [*clamped(clamps), *whole_runs(arguments.program, arguments.rounds)]
    write(arguments, rows, {row: statistics.median(own) for row, own in times.items()}, measured_rate(step), growth, further)


def write(arguments, rows, medians, rate, growth, further):
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())
    lines = [
        "# Benchmarks",
        "",
        "Milliseconds of a training step for each model: sampling, forward, backward and Adam, float32. The peers are in `benches/peers/`; they are",
        "given their batches beforehand. *Products* is the share of the time that the matrix products alone would take at the rate of one core, or of",
        "all cores where several are used; all products that the formulas have, also those that a program finds it need not do.",
        "",
        f"{datetime.date.today()}, {model}, {THREADS} cores, {rate / 1e9:.0f} GFLOP/s a core in products; medians of {arguments.rounds} runs in turns, by",
        "",
        "    make bench",
        "",
        "| case | | ms | JAX, one model, takes | JAX, the better population, takes | products |",
        "|---|---|---|---|---|---|",
    ]
    table = []
    for row in rows:
        case, name, peer, models, form, _ = row
        plain = next(medians[other] for other in rows if other[0] == case and other[2] == "jax" and other[4] == "plain")
        population = min(medians[other] for other in rows if other[0] == case and other[4] in ("population", "sharded"))
        own = medians[row]
        cores = 1 if peer == "optogen" and form == 1 else THREADS
        share = products(case) / (rate * cores) / (own / 1e3)
        times = f"{plain / own:.1f} ×" if peer == "optogen" else ""
        many = f"{population / own:.1f} ×" if peer == "optogen" and models > 1 else ""
        lines.append(f"| {case} | {name} | {own:.3f} | {times} | {many} | {100 * share:.0f} % |")
        table.append({"case": case, "name": name, "peer": peer, "models": models, "form": str(form), "ms_per_model_step": own, "products": share})
    lines += ["", "`ih_base` is `experiments/induction/base.toml`; `c_base` has 12800 classes and outputs and learned positions; `depth12` has 12 layers with",
              "MLPs and a context of 8. Each operation by itself: `cargo bench -p optogen-tests --bench ops`.", "", "## How cost grows", "",
              "The base experiment with one thing varied; one model on one thread, and for `models` all threads.", "", "![Milliseconds a step](docs/growth.svg)", "",
              "| | " + " | ".join(f"{name}" for name, _, _ in GROWTH) + " |", "|---|" + "---|" * len(GROWTH)]
    longest = max(len(sizes) for _, sizes, _ in GROWTH)
    for index in range(longest):
        own = [[row for row in growth if row["varied"] == name] for name, _, _ in GROWTH]
        cells = [f"{of[index]['size']}: {of[index]['ms_per_model_step']:.3f}" if index < len(of) else "" for of in own]
        lines.append("| | " + " | ".join(cells) + " |")
    lines += ["", *further]
    with open(arguments.out, "w") as out:
        out.write("\n".join(lines))
    stem = os.path.splitext(arguments.out)[0].lower()
    pa.parquet.write_table(pa.Table.from_pylist(table), stem + ".parquet")
    pa.parquet.write_table(pa.Table.from_pylist(growth), stem + "-growth.parquet")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
