"""The cases that the peers of the training step are timed on, the batches they train on, and the numbers they are checked against.

Everything here is numpy, and none of it is timed: a peer draws its batches with `draw` before the clock starts, times itself with `time_runs`, and
holds itself against the published numbers with `check`. Import this module first: the time to the first step is counted from here.
"""

import time

START = time.perf_counter()

import json
import os
from dataclasses import dataclass

import numpy as np

CONFORMANCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/data/conformance.h5")
LEARNED_POSITIONS = 32


@dataclass(frozen=True)
class Case:
    layers: int = 2
    width: int = 64
    heads: int = 8
    mlp_ratio: int = 0
    positions: str = "rope"
    position_time: float = 10000.0
    context: int = 2
    burstiness: int = 1
    batch: int = 32
    features: int = 512
    classes: int = 50
    outputs: int = 5
    relabelled: bool = True
    rate: float = 1e-5

    @property
    def tokens(self):
        return 2 * self.context + 1

    @property
    def head_width(self):
        return self.width // self.heads


CASES = {
    "ih_base": Case(),
    "c_base": Case(positions="learned", classes=12800, outputs=12800, relabelled=False),
    "depth12": Case(
        layers=12,
        mlp_ratio=4,
        positions="sinusoidal",
        position_time=30.0,
        context=8,
        burstiness=3,
        classes=1600,
        outputs=1600,
        relabelled=False,
        rate=3e-4,
    ),
}


def random_bank(case):
    """Features [class, feature]: one exemplar a class."""
    return np.random.default_rng(0).standard_normal((case.classes, case.features), dtype=np.float32)


def draw(case, count, seed=0):
    """Batches of indices: classes and labels, both int32 [count, batch, pair]. The last pair is the query, its label the target.

    The query's class and a distractor are in the context `burstiness` times each; what remains is filled with any other classes.
    """
    random = np.random.default_rng(seed)
    shape = (count, case.batch)
    query = random.integers(case.classes, size=shape)
    distractor = (query + random.integers(1, case.classes, size=shape)) % case.classes
    others = random.integers(case.classes, size=(*shape, case.context - 2 * case.burstiness))
    bursty = np.repeat(np.stack([query, distractor], -1), case.burstiness, axis=-1)
    context = random.permuted(np.concatenate([bursty, others], -1), axis=-1)
    classes = np.concatenate([context, query[..., None]], -1)
    labels = classes
    if case.relabelled:
        first = random.integers(case.outputs, size=shape)
        second = (first + random.integers(1, case.outputs, size=shape)) % case.outputs
        labels = np.where(classes == query[..., None], first[..., None], second[..., None])
    return classes.astype(np.int32), labels.astype(np.int32)


def sinusoids(case):
    """The table [token, width] that is added: sine at even dimensions, cosine at odd ones."""
    dimension = np.arange(case.width)
    angle = np.arange(case.tokens)[:, None] / case.position_time ** (2 * (dimension // 2) / case.width)
    return np.where(dimension % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def rotations(case):
    """Cosines and sines [token, half a head] of rotary positions, for the interleaved pairs (0, 1), (2, 3) and so on."""
    pair = np.arange(case.head_width // 2)
    angle = np.arange(case.tokens)[:, None] / case.position_time ** (2 * pair / case.head_width)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def initial_parameters(case, seed=0):
    """Parameters as a tree of dicts, linear weights [in, out]: LeCun normal, truncated at two deviations."""
    random = np.random.default_rng(seed)

    def truncated(*shape):
        values = random.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = random.standard_normal(outside.sum())
        return values

    def weight(inputs, outputs):
        # The deviation of a normal that is cut off at two is 0.8796.
        return (truncated(inputs, outputs) / np.sqrt(inputs) / 0.87962566).astype(np.float32)

    def linear(inputs, outputs):
        return {"weight": weight(inputs, outputs), "bias": np.zeros(outputs, np.float32)}

    def norm():
        return {"gain": np.ones(case.width, np.float32), "bias": np.zeros(case.width, np.float32)}

    def block():
        attention = {"norm1": norm(), "qkv": weight(case.width, 3 * case.width), "proj": weight(case.width, case.width)}
        if not case.mlp_ratio:
            return attention
        inner = case.mlp_ratio * case.width
        return attention | {"norm2": norm(), "fc1": linear(case.width, inner), "fc2": linear(inner, case.width)}

    parameters = {
        "example": linear(case.features, case.width),
        "label": (0.02 * truncated(case.outputs, case.width)).astype(np.float32),
        "blocks": [block() for _ in range(case.layers)],
        "norm": norm(),
        "unembed": linear(case.width, case.outputs),
    }
    if case.positions == "learned":
        bound = LEARNED_POSITIONS**-0.5
        parameters["positions"] = random.uniform(-bound, bound, (LEARNED_POSITIONS, case.width)).astype(np.float32)
    return parameters


def since_start():
    return time.perf_counter() - START


def time_runs(run, repeats, steps, **who):
    """Times `run`, which makes so many steps and returns their losses when the last is done; prints a line of JSON for each repeat."""
    for _ in range(repeats):
        start = time.perf_counter()
        losses = run()
        seconds = time.perf_counter() - start
        assert np.isfinite(np.asarray(losses)).all(), "the loss is no longer a number"
        each = seconds * 1e3 / (steps * who["models"])
        print(json.dumps(who | {"steps": steps, "seconds": seconds, "ms_per_model_step": each}), flush=True)


def check(peer_logits, peer_losses, path=CONFORMANCE):
    """Holds a peer against the numbers of the published implementation.

    `peer_logits(case, parameters, features, labels)` gives the logits [sequence, pair, class]; `peer_losses(case, parameters, bank, classes, labels)`
    trains a step on each batch and gives the loss of each.
    """
    import h5py

    with h5py.File(path) as file:
        for name, group in file.items():
            case, parameters = published(json.loads(group.attrs["config"]), group)
            bank = group["data/bank"][:]
            classes_of, exemplars_of = bank.shape[:2]
            batch = group["batch"]
            logits = np.asarray(peer_logits(case, parameters, bank[batch["classes"][:], batch["exemplars"][:]], batch["labels"][:]))
            expect(f"{name}: logits", logits, group["clamps/none/logits"][:], 1e-5)
            losses = cross_entropy(logits[:, -1], batch["labels"][:, -1])
            expect(f"{name}: mean loss", losses.mean(), group["clamps/none/mean_loss"][()], 1e-5)
            if "training/adam" not in group:
                continue
            batches = group["training/adam/batches"]
            # The peers know one exemplar a class: each exemplar is a row of the bank here.
            rows = batches["classes"][:] * exemplars_of + batches["exemplars"][:]
            flat = bank.reshape(classes_of * exemplars_of, -1)
            losses = np.asarray(peer_losses(case, parameters, flat, rows, batches["labels"][:]))
            expect(f"{name}: loss along {len(losses)} steps of Adam", losses, group["training/adam/loss"][:], 1e-4)


def published(config, group):
    """A case and its parameters in the form of `initial_parameters`, from the published names."""
    case = Case(
        layers=config["depth"],
        width=config["d_model"],
        heads=config["num_heads"],
        mlp_ratio=int(config["mlp_ratio"] or 0),
        positions={"ape": "learned"}.get(config["pos_embedding_type"], config["pos_embedding_type"]),
        position_time=config["sin_time"],
        context=config["train_context_len"],
        batch=config["train_bs"],
        features=group["data/bank"].shape[-1],
        outputs=config["model_output_classes"],
        rate=config["lr"],
    )
    stored = group["params"]

    def weight(name):
        return stored[f"{name}/weight"][:].T.copy()

    def linear(name):
        return {"weight": weight(name), "bias": stored[f"{name}/bias"][:]}

    def norm(name):
        return {"gain": stored[f"{name}/weight"][:], "bias": stored[f"{name}/bias"][:]}

    def block(name):
        attention = {"norm1": norm(f"{name}/norm1"), "qkv": weight(f"{name}/attn/qkv"), "proj": weight(f"{name}/attn/proj")}
        if not case.mlp_ratio:
            return attention
        return attention | {"norm2": norm(f"{name}/norm2"), "fc1": linear(f"{name}/mlp/fc1"), "fc2": linear(f"{name}/mlp/fc2")}

    parameters = {
        "example": linear("example_embed"),
        "label": weight("label_embed"),
        "blocks": [block(f"transformer/blocks/{layer}") for layer in range(case.layers)],
        "norm": norm("transformer/norm"),
        "unembed": linear("unembed"),
    }
    if case.positions == "learned":
        parameters["positions"] = weight("pos_embed")
    return case, parameters


def cross_entropy(logits, targets):
    above = logits - logits.max(-1, keepdims=True)
    return np.log(np.exp(above).sum(-1)) - above[np.arange(len(targets)), targets]


def expect(what, got, wanted, tolerance):
    """Within the tolerance of the largest number wanted."""
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error <= tolerance, f"{what}: off by {error:.1e}, and at most {tolerance:.0e} is allowed"
    print(f"{what}: off by {error:.1e}")
